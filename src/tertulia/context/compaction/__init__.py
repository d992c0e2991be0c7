"""Compaction: which records apply to a branch, when one is due, what it leaves out, and what a summary covers."""

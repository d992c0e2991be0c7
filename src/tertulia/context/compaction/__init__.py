"""Compaction as pure functions: which records apply to a branch, when one is due, and what it leaves out."""

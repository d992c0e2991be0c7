"""Drafts: documents that a person edits together with a model. Every version is kept."""

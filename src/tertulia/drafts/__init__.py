"""Drafts: texts that a person writes beside a model, with every version kept."""

"""The HTTP toolkit, without knowledge of any domain."""

"""The HTTP kit, without knowledge of any domain."""

"""Search over the text that the domains index."""

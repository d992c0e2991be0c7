"""One search over what the domains index."""

"""The full-text index below the domains that it indexes."""

"""Invitations: links by which people without an account make one, with the role and the plan that were chosen."""

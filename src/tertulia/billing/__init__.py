"""Billing: the ledger of usage and cost, the daily message counts, and their sums."""

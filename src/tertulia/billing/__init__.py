"""What it costs: the ledger of every reply, the counts of every day, and their sums."""

"""Search by meaning: a small local model, vectors of indexed passages, and the vectors nearest to a query."""

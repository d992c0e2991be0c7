"""Build the request that a step sends to a model, and preview it."""

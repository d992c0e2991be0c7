"""What a step sends to the model: pure functions decide, one read gathers."""

"""What models may do besides talking: the port that a tool fills, those that are built in, and the rules that decide on calls."""

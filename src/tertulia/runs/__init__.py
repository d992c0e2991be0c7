"""The agent loop: a run writes one reply on the server, with or without connected clients."""

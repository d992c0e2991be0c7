"""The agent loop: a run writes one reply on the server, whoever is watching."""

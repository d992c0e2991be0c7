"""Search by meaning: a small model on this machine, vectors of what was said, and the nearest of them to what is asked."""

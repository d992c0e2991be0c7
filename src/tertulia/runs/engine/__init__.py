"""Execute runs: claim them under a lease, stream the reply, store it, and let others follow it."""

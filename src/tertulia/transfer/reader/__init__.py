"""Read untrusted exports in a separate process with limits, which prints its findings line by line."""

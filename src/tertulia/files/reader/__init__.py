"""Read an untrusted file. This runs as a separate process with limits, without the rest of the application."""

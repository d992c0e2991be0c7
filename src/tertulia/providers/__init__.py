"""Model providers: one Provider protocol, and adapters that map each wire format to our stream events."""

"""Sample data, as an export: a chat with tools and a state, one with branches and code, one with a thread."""

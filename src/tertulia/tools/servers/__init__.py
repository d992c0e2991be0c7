"""Tools of MCP servers: whose they are, what they say they can do, and how they are called."""

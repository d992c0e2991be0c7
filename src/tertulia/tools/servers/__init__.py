"""MCP servers: their owners, tool definitions, sign-ins and calls."""

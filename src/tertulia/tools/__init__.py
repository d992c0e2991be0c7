"""Tools that models can call: the tool protocol, built-in tools, MCP servers, and the rules that decide on calls."""

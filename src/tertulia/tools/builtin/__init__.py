"""Built-in tools that do not depend on chats or drafts."""

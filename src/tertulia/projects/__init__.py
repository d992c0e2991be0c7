"""Projects: chats with instructions and a model in common, alone or with others, and channels for their members."""

"""Chats: message trees, and the typed parts of messages."""

"""Chats: trees of messages, each made of typed parts."""

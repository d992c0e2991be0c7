"""Compact the context of a chat: truncate, compress or summarise what is sent."""

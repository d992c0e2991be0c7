"""What visitors see through public links of chats and drafts."""

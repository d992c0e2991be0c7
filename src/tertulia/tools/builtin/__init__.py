"""Tools that come with the server and need nothing of chats or drafts."""

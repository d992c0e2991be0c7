"""Files that users upload: receive, read, store once, and serve them."""

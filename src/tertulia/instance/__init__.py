"""The instance as its administrator sees it: whether it is secure, and which users are the largest."""

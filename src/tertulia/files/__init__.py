"""Files that people bring: taken in, looked into, kept once, given out."""

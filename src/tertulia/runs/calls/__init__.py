"""Tool calls: how they are recorded, decided, executed and read."""

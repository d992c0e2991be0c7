"""The change log: publish in the writer's transaction, subscribe, and resume after an event id."""

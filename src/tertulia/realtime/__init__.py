"""The event log: publish inside the writer's transaction, subscribe, resume after an event id."""

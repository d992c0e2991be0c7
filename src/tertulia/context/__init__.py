"""Prompt assembly: reads load the history, and pure functions decide what a step sends to the model."""

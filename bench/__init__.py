"""Measure what requests cost, with the limit measured in the same run. See docs/operations/performance.md."""

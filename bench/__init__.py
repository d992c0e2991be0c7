"""What requests cost, each figure beside the limit measured in the same run; see docs/operations/performance.md."""

"""A domain of notes, copied into a copy of the source by tests/contracts/test_toy_domain.py. It is not part of the product."""

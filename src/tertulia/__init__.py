"""Tertulia: a self-hosted AI workspace."""

__version__ = "0.2.0"

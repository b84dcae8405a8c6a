"""Hyper-Skin as living software."""

__version__ = "0.1.0"

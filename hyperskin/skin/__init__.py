"""Optics and maps of skin; numpy and scipy only."""

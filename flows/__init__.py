"""Prefect only: which step runs when."""

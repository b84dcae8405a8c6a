"""Finished runs and the manifest -> one page that can be handed to a reviewer."""

"""A model and batches -> a better model."""

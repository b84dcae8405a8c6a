"""Who brings captures in, one file per source."""

"""One file per step that DVC, Prefect or a person runs."""

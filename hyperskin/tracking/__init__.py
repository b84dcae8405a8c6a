"""The only imports of mlflow."""

"""The search for the best recipe: the only imports of optuna."""

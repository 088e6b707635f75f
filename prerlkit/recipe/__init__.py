"""Recipes: one YAML file per experiment. Schema, loading with line numbers, `--set`, packaged recipes."""

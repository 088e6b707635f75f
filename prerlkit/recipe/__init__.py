"""Recipes: one YAML file an experiment. Schema, loading with line numbers, `--set`, packaged recipes."""

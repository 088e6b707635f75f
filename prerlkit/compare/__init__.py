"""Runs compared: seeds as repetitions, groups at equal steps, tokens and time (docs/compare.md)."""

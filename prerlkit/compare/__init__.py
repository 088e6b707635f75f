"""Runs beside each other: seeds as repetitions, groups at equal steps, tokens and time (docs/compare.md)."""

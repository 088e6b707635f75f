"""What a run measures: each metric's name, unit, meaning, direction and chart, in one catalogue."""

"""Trackers receive a run's steps. Each has its own process, which may die or hang (docs/trackers.md)."""

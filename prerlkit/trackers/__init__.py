"""Trackers: who else hears of a run. Each has a process of its own, which may die or hang (docs/trackers.md)."""

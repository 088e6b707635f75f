"""Single-turn environments of the PyPI package `verifiers`: loaded, checked, and their reward functions called."""

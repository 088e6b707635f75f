"""What looks at a run without changing it: gradient alignment, thoughts, exploration, drift."""

"""Probes measure a run without changing it: gradient alignment, thoughts, exploration, drift, change by token."""

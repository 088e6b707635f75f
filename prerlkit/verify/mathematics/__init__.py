"""Finds a mathematical answer in a completion and compares it with the gold answer."""

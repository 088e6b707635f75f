"""Recipes × settings × seeds, one run each, resumable (docs/compare.md)."""

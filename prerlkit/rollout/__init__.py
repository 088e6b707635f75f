"""Rollouts: prompts in, completions out, behind one small protocol."""

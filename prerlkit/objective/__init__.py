"""Objectives: from log-probs and verdicts to a loss. Pure functions of tensors; no model, no file, no clock."""

"""Rollout engines by the names of a recipe. Each is one file with its checks, its memory and its start."""

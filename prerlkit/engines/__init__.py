"""Rollout engines as a recipe names them: each is one file with its checks, its memory and its maker."""

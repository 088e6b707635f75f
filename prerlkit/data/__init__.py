"""Prompt sources: rows from the Hub, files and generators, made into tokenized prompts, and the order they come in."""

from prerlkit.data import reach  # registers its generator

__all__ = ["reach"]

"""Prompt sources: rows from the Hub, files and generators, made into tokenized prompts, and the order they come in."""

"""Verifiers are tried before they are trusted, on gold answers, on rows of a file, and by attacks."""

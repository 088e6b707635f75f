"""A run on disk: one class to read it, one to write it (docs/run-folder.md)."""

"""A page in one file, from plain data: shell, tables, curves. The caller decides what is in it."""

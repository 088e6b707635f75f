"""A page in one file, from plain data: shell, tables, curves. What is in it is the business of whoever builds one."""

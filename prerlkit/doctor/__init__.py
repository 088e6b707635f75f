"""`prerlkit doctor`: what this machine offers (`machine`), and whether everything works on it (`run`)."""

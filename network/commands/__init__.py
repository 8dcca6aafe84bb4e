"""Command lines, which the scripts of the same names run."""

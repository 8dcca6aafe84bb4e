"""The command lines: what the scripts of the same names run."""

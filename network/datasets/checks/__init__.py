"""Checks: what is wrong with the files of a data set, and what they look like."""

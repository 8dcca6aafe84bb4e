"""Measurements of memory, and of speed as ratios to a lower limit, the "floor"."""

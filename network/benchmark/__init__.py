"""Measurements: speed as ratios to what nobody can do without, and memory."""

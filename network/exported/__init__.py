"""Exported files: what they say about themselves, and prediction by them, also without torch."""

"""Measurements of memory and time. A time is divided by the shortest possible one, the "floor"."""

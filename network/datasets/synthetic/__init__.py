"""Synthetic: scenes that are drawn, for demonstrations, tests and benchmarks."""

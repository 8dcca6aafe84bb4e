"""Synthetic scenes for demonstrations, tests and benchmarks."""

"""Reporting: the page of a finished test, and comparisons of several tests."""

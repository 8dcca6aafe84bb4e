"""Reporting: the page of a finished test, comparisons of several tests, pictures of maps."""

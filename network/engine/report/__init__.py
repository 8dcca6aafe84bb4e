"""One HTML page of a test: what was measured, how, and what the masks look like."""

"""Points: which pixels have a label, the files they come in, and sparse masks of them."""

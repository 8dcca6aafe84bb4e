"""Point labels: their rules, their files, and the sparse masks that are made from them."""

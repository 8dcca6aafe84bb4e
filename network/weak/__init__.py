"""Label sources that cost less than dense masks."""

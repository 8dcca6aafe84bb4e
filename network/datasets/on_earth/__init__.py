"""Labels and areas that lie on Earth, brought onto the grid of an image or a map."""

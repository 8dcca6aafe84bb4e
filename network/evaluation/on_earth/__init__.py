"""Scores and areas of maps on Earth: truth, areas of interest and samples on the map's grid."""

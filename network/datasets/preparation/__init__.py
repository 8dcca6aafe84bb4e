"""Preparation: from official archives, whole tiles and frames to the folders of a data set."""

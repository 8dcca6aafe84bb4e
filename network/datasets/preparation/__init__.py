"""Preparation of a data set's folders from official archives, whole tiles and video frames."""

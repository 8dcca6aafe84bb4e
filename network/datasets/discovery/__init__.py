"""Discovery of a data set from its files, so that nobody has to describe it by hand."""

"""Checks that find faults in the files of a data set, and show what the files look like."""

"""Data-set facts, files and samples. Nothing here knows Lightning; facts import no torch."""

"""Studies: tables and figures from many trainings together."""

"""Studies: what many trainings together show, as tables and figures."""

"""One module an experiment: its tables and its pictures."""

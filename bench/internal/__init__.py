"""Each boundary between our own processes beside its floor."""

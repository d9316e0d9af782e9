"""Documents that are made of data, traces or code, each by a command that also checks it."""

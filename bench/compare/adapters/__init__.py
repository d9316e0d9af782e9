"""One thin adapter a protocol over the same in-memory rows, each on the best-kept library of that protocol."""

"""Hours of mixed load, and what grows."""

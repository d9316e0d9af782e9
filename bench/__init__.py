"""Benchmarks, each next to its floors: what the same machine, at the same time, needs for the least of it."""

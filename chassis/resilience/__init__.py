"""Deadlines, circuit breakers and request coalescing."""

"""Starts the shop's processes, restarts those that end, and stops them all."""

"""Measurements of the shop itself in E1, E5 and E6, and the second gateway that they need."""

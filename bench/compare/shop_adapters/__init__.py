"""Clients of the shop's real routes, on the same libraries as the bare level's clients."""

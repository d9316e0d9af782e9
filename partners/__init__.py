"""Stand-ins for the outside world: they depend on the shop only by what it sends and accepts."""

"""Stand-ins for the outside world: they know the shop only by what it sends and accepts."""

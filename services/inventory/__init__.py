"""inventory: stock and its reservations."""

"""webhooks: what partners tell us, verified, stored before it is acknowledged, and processed from a queue."""

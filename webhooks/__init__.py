"""webhooks: partners' notifications, verified, stored before it is acknowledged, and processed from a queue."""

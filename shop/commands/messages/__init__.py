"""Commands on the broker: events, queues, dead letters."""

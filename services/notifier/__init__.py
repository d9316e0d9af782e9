"""notifier: events to clients over WebSocket and SSE, live and replayed after an interruption."""

"""notifier: events to whoever watches, over WebSocket and SSE, as they happen and again after an interruption."""

"""WebSocket and SSE: the two ways to a client."""

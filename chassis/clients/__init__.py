"""Clients of our own servers: HTTP, WebSocket, and the calls of the gateway and of the notifier."""

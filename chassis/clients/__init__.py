"""Clients of other processes: HTTP and WebSocket to any of ours, and the calls of the gateway and of the notifier."""

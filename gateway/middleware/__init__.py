"""The policies of the edge, each a pure ASGI middleware or a dependency of routes."""

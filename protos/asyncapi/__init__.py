"""AsyncAPI 3: the shop's events, WebSockets and webhooks as one document, made from the topology and the contracts."""

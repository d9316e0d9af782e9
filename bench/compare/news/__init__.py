"""News by every way of getting them: polling, waiting, streams, sockets and a webhook, over one in-memory feed."""

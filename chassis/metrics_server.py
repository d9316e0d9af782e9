"""Where a process that serves no HTTP of its own shows its metrics: Prometheus comes for `/metrics`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.http import Receive, Scope, Send
from chassis.http_server import serve_http
from chassis.metrics import CONTENT_TYPE_LATEST, Metrics


@asynccontextmanager
async def showing_metrics(host: str, port: int) -> AsyncIterator[Metrics]:
    """The metrics of this process, to be read at `http://host:port/metrics` until the block ends."""
    metrics = Metrics()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's shape
        found = scope["path"] == "/metrics" and scope["method"] in ("GET", "HEAD")
        body = metrics.exposition() if found else b"metrics are at /metrics\n"
        kind = CONTENT_TYPE_LATEST if found else "text/plain"
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with serve_http(application, host=host, port=port, drain=1):
        yield metrics

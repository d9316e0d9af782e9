"""The `/metrics` endpoint of a process that serves no HTTP of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.http.pages import Page, pages
from chassis.http.server import serve_http
from chassis.observability.metrics import Metrics


@asynccontextmanager
async def showing_metrics(host: str, port: int) -> AsyncIterator[Metrics]:
    """The metrics of this process, to be read at `http://host:port/metrics` until the block ends."""
    metrics = Metrics()

    async def exposition(accept: str) -> Page:
        return 200, *metrics.exposition(accept)

    async with serve_http(pages({"/metrics": exposition}), host=host, port=port, drain=1):
        yield metrics

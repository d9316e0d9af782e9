"""The composition root of the console: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.http import serve_http
from chassis.process import Running
from chassis.settings import ProcessSettings
from console.http_api import ConsoleApi
from console.store import Bounds, TraceStore


class Settings(ProcessSettings):
    console_port: int = 8003
    # The largest export, in bytes.
    console_max_body: int = 4 << 20
    # What is kept in memory, at most; the oldest traces go first.
    console_max_traces: int = 1_000
    console_max_spans: int = 30_000
    console_max_bytes: int = 48 << 20


@asynccontextmanager
async def run(settings: Settings | None = None) -> AsyncIterator[Running]:
    """Receive and show spans until the block ends."""
    settings = settings or Settings()
    bounds = Bounds(settings.console_max_traces, settings.console_max_spans, settings.console_max_bytes)
    api = ConsoleApi(TraceStore(bounds), max_body=settings.console_max_body)
    # Without the boundary that other servers have: each export received would be another span to export.
    async with serve_http(api.app(), host=settings.host, port=settings.console_port) as port:
        yield Running(port)

"""Health endpoints of a process that serves no HTTP of its own: `/healthz` (liveness), `/readyz` (readiness)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chassis.http.pages import Page


@asynccontextmanager
async def showing_health(host: str, port: int, ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
    """Answer at `http://host:port` until the block ends: 200 or, for `/readyz` while `ready` is false, 503.

    Port 0: do not listen at all.
    """
    if not port:
        yield
        return
    # Imported here: a process that listens nowhere does not pay for it.
    from chassis.http.pages import pages
    from chassis.http.server import serve_http

    async def alive(_: str) -> Page:
        return 200, "application/json", b'{"status":"alive"}'

    async def readiness(_: str) -> Page:
        if await ready():
            return 200, "application/json", b'{"status":"ready"}'
        return 503, "application/json", b'{"status":"not ready"}'

    async with serve_http(pages({"/healthz": alive, "/readyz": readiness}), host=host, port=port, drain=1):
        yield

"""REST over HTTP/2 without TLS (prior knowledge): rest.py's application on hypercorn, and pyqwest's client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from hypercorn.asyncio import serve as serve_forever
from hypercorn.config import Config
from pyqwest import Client, HTTPTransport, HTTPVersion

from bench.compare.adapters.port import Call, Link, Rows, Selection
from bench.compare.adapters.rest import app

_PLAIN: dict[str, Any] = dict.fromkeys(("enable_gzip", "enable_brotli", "enable_zstd", "enable_otel"), False)


@asynccontextmanager
async def serve(_: Sequence[str]) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(listener.getsockname()[1])
    config, stopping = Config(), asyncio.Event()
    config.bind, config.loglevel = [f"fd://{listener.detach()}"], "WARNING"

    async def stopped() -> None:
        await stopping.wait()

    serving = asyncio.create_task(serve_forever(cast("Any", app), config, shutdown_trigger=stopped))
    try:
        yield port
    finally:
        stopping.set()
        await serving


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """One connection for all requests; no compression and no spans."""
    transport = HTTPTransport(http_version=HTTPVersion.HTTP2, max_connections_per_address=1, **_PLAIN)
    async with transport:
        client = Client(transport)

        async def get(product_id: str) -> dict[str, str]:
            answer = await client.get(f"{link.url}/products/{product_id}", headers=link.headers)
            if answer.status != 200:
                raise ConnectionError(f"answered {answer.status}")
            return cast("dict[str, str]", answer.json())

        async def call(selection: Selection) -> Rows:
            return list(await asyncio.gather(*(get(each) for each in selection.ids)))

        yield call

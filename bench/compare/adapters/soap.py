"""SOAP 1.1, document/literal: Spyne on waitress, and zeep's asynchronous client."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import zeep
from waitress.server import create_server
from zeep.proxy import AsyncServiceProxy
from zeep.transports import AsyncTransport, Transport
from zeep.wsdl import Document

from bench.compare.adapters import rows
from bench.compare.adapters.port import Call, Link, Rows, Selection
from bench.compare.adapters.schemas.soap import application

# Seconds for an answer: who calls decides how long a call may take, up to this.
_CALL_TIMEOUT = 60.0


@asynccontextmanager
async def serve(options: Sequence[str]) -> AsyncIterator[int]:
    server = create_server(application(), host="127.0.0.1", port=0)
    running = asyncio.create_task(asyncio.to_thread(server.run))
    try:
        yield int(server.effective_port)
    finally:
        server.close()
        running.cancel()


@functools.cache
def described(url: str) -> Document:
    """The description of a WSDL."""
    return Document(url, Transport())  # type: ignore[arg-type] # zeep's own annotation is wrong


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """The WSDL is read once in each process, from the server itself: it is no part of any figure."""
    wsdl = await asyncio.to_thread(described, f"{link.direct}/?wsdl")
    limits = httpx.Limits(max_connections=link.connections)
    async with httpx.AsyncClient(trust_env=False, limits=limits, timeout=_CALL_TIMEOUT) as http:
        client = zeep.AsyncClient(wsdl, transport=AsyncTransport(client=http))
        http.headers.update({"Accept-Encoding": "identity", **link.headers})
        service = AsyncServiceProxy(client, client.service._binding, address=f"{link.url}/")  # noqa: SLF001

        async def call(selection: Selection) -> Rows:
            found = [await service.GetProduct(each) for each in selection.ids]
            return [{name: getattr(each, name) for name in rows.BRIEF} for each in found]

        yield call

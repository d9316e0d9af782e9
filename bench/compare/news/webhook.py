"""A webhook: the server POSTs each event to the watcher, by aiohttp; the watcher is FastAPI on uvicorn.

Here the watcher is the HTTP server, so bytes "up" are the publisher's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI

from bench.compare.adapters.port import Link, asgi
from bench.compare.news.feed import FEED, Event, Seen

# Where the watchers of this process listen.
LISTENING: list[int] = []
TARGETS: asyncio.Queue[str] = asyncio.Queue(10_000)


async def _deliver(url: str, session: aiohttp.ClientSession) -> None:
    async for event in FEED.following():
        async with session.post(url, json=event, raise_for_status=True):
            pass


async def _register(session: aiohttp.ClientSession, deliveries: asyncio.TaskGroup) -> None:
    while True:
        deliveries.create_task(_deliver(await TARGETS.get(), session))


@asynccontextmanager
async def serve(options: Sequence[str]) -> AsyncIterator[int]:
    """The server's only door takes the watchers' URLs."""
    app = FastAPI(openapi_url=None)

    @app.post("/targets")
    async def register(url: str) -> bool:
        TARGETS.put_nowait(url)
        return True

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as deliveries, asgi(app) as port:
        deliveries.create_task(_register(session, deliveries))
        yield port


async def watch(link: Link, seen: Seen, ready: asyncio.Event) -> None:
    """`server_port` is the publisher's door; `port`, where it is another, is a proxy on the way back to us."""
    app = FastAPI(openapi_url=None)

    @app.post("/hook")
    async def hook(event: Event) -> None:
        seen(event)

    async with asgi(app) as port, aiohttp.ClientSession(link.direct) as session:
        LISTENING.append(port)
        url = f"http://127.0.0.1:{link.port if link.server_port else port}/hook"
        async with session.post("/targets", params={"url": url}, raise_for_status=True):
            ready.set()
        await asyncio.Event().wait()

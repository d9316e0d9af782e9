"""Events over a WebSocket, by websockets on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websocket_serve
from websockets.exceptions import ConnectionClosed

from bench.compare.adapters.port import Link
from bench.compare.news.feed import FEED, Seen


async def _send(socket: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await socket.send("hello")
        async for event in FEED.following():
            await socket.send(json.dumps(event))


@asynccontextmanager
async def serve(options: Sequence[str]) -> AsyncIterator[int]:
    async with websocket_serve(_send, "127.0.0.1", 0, compression=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def watch(link: Link, seen: Seen, ready: asyncio.Event) -> None:
    async with connect(f"ws://127.0.0.1:{link.port}", compression=None, proxy=None) as socket:
        async for text in socket:
            if text == "hello":
                ready.set()
            else:
                seen(json.loads(text))

"""Server-sent events: FastAPI's streaming response on uvicorn, and aiohttp's client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import aiohttp
from fastapi import FastAPI
from starlette.responses import StreamingResponse

from bench.compare.adapters.port import Link, asgi
from bench.compare.news.feed import FEED, Seen

app = FastAPI(openapi_url=None)


async def _lines() -> AsyncIterator[str]:
    yield ": hello\n\n"
    async for event in FEED.following():
        yield f"id: {event['id']}\ndata: {json.dumps(event)}\n\n"


@app.get("/news/stream")
async def stream() -> StreamingResponse:
    return StreamingResponse(_lines(), media_type="text/event-stream")


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    return asgi(app)


async def watch(link: Link, seen: Seen, ready: asyncio.Event) -> None:
    forever = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(link.url, timeout=forever) as session,
        session.get("/news/stream", raise_for_status=True) as answer,
    ):
        async for line in answer.content:
            if line.startswith(b":"):
                ready.set()
            if line.startswith(b"data:"):
                seen(json.loads(line[5:]))

"""Polling, conditional polling and long polling: FastAPI on uvicorn, and aiohttp's client."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import aiohttp
from fastapi import FastAPI, Header, Response

from bench.compare.adapters.port import Link, asgi
from bench.compare.news.feed import FEED, Event, Seen

app = FastAPI(openapi_url=None)
_LONG = 25.0


@app.get("/news")
async def news(
    response: Response, after: int = 0, if_none_match: Annotated[str | None, Header()] = None
) -> list[Event] | None:
    response.headers["ETag"] = tag = f'"{len(FEED.events)}"'
    if if_none_match == tag:
        response.status_code = 304
        return None
    return FEED.after(after)


@app.get("/news/next")
async def next_news(after: int) -> list[Event]:
    return await FEED.wait(after, _LONG)


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    return asgi(app)


async def watch(link: Link, seen: Seen, ready: asyncio.Event) -> None:
    """Options: "long", or seconds between polls ("1"), with "conditional" for `If-None-Match`."""
    long = "long" in link.options
    every = 0.0 if long else float(link.options[0])
    position, tag = 0, ""
    async with aiohttp.ClientSession(link.url, headers={"Accept-Encoding": "identity"}) as session:
        ready.set()
        while True:
            path = f"/news/next?after={position}" if long else f"/news?after={position}"
            conditions = {"If-None-Match": tag} if tag and "conditional" in link.options else {}
            async with session.get(path, headers=conditions, raise_for_status=True) as answer:
                tag = answer.headers.get("ETag", "")
                for event in await answer.json() if answer.status == 200 else ():
                    position = event["id"]
                    seen(event)
            await asyncio.sleep(every)

"""REST through the gateway, by aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from bench.compare.adapters import rows
from bench.compare.adapters.port import Ask, Call, Link, Rows

STOCK = ("product_id", "available")


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Options: "no-cache" passes the gateway's cache by; "revalidate" sends the ETag of the last answer."""
    headers = {"Accept-Encoding": "identity", **link.headers}
    if "no-cache" in link.options:
        headers["Cache-Control"] = "no-cache"
    connector = aiohttp.TCPConnector(limit=1)
    known: dict[str, tuple[str, Rows]] = {}
    async with aiohttp.ClientSession(link.url, connector=connector, headers=headers) as session:

        async def get(path: str, fields: tuple[str, ...]) -> Rows:
            etag, kept = known.get(path, ("", []))
            asked = {"If-None-Match": etag} if etag else {}
            async with session.get(path, headers=asked, raise_for_status=True) as answer:
                if answer.status == 304:
                    return kept
                found = rows.chosen([await answer.json()], fields)
                if "revalidate" in link.options:
                    known[path] = (answer.headers["ETag"], found)
                return found

        async def call(ask: Ask) -> Rows:
            if ask.how == "availability":
                return await get(f"/v1/products/{ask.ids[0]}/availability", STOCK)
            return await get(f"/v1/products/{ask.ids[0]}", ask.fields)

        yield call

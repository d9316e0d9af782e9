"""REST through the gateway, by aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from bench.compare.adapters import rows
from bench.compare.adapters.port import Call, Link, Rows, Selection

STOCK = ("product_id", "available")


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Options: "no-cache" passes the gateway's cache by; "revalidate" sends the ETag of the last answer; "gzip"."""
    headers = {"Accept-Encoding": "gzip" if "gzip" in link.options else "identity", **link.headers}
    if "no-cache" in link.options:
        headers["Cache-Control"] = "no-cache"
    connector = aiohttp.TCPConnector(limit=link.connections)
    known: dict[str, tuple[str, Rows]] = {}
    async with aiohttp.ClientSession(link.url, connector=connector, headers=headers) as session:

        async def get(path: str, fields: tuple[str, ...]) -> Rows:
            etag, kept = known.get(path, ("", []))
            conditions = {"If-None-Match": etag} if etag else {}
            async with session.get(path, headers=conditions, raise_for_status=True) as answer:
                if answer.status == 304:
                    return kept
                body = await answer.json()
                found = rows.chosen(body.get("items", [body]), fields)
                if "revalidate" in link.options:
                    known[path] = (answer.headers["ETag"], found)
                return found

        async def call(selection: Selection) -> Rows:
            if selection.how == "availability":
                return await get(f"/v1/products/{selection.ids[0]}/availability", STOCK)
            if selection.limit and selection.how != "one by one":
                return await get(f"/v1/products?limit={selection.limit}", selection.fields)
            paths = [f"/v1/products/{each}" for each in selection.ids]
            if selection.how == "one by one":
                return [(await get(path, selection.fields))[0] for path in paths]
            return [found[0] for found in await asyncio.gather(*(get(path, selection.fields) for path in paths))]

        yield call

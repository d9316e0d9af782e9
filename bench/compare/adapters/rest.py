"""REST: FastAPI on uvicorn, and aiohttp's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from bench.compare.adapters import rows
from bench.compare.adapters.port import Call, Link, Rows, Selection, asgi

app = FastAPI(openapi_url=None)


@app.get("/products/{product_id}")
async def product(product_id: str) -> dict[str, str]:
    return rows.brief(product_id)


@app.get("/catalogue")
async def catalogue(limit: int) -> list[dict[str, str]]:
    return rows.page(limit)


@app.get("/catalogue/{product_id}")
async def details(product_id: str) -> dict[str, str]:
    return rows.full([product_id])[0]


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    """Option "gzip": answers are compressed."""
    return asgi(GZipMiddleware(app) if "gzip" in options else app, options)


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Option "gzip": compressed answers are accepted."""
    connector = aiohttp.TCPConnector(limit=link.connections, ssl=link.trust or True)
    headers = {"Accept-Encoding": "gzip" if "gzip" in link.options else "identity", **link.headers}
    async with aiohttp.ClientSession(link.url, connector=connector, headers=headers) as session:

        async def get(path: str) -> Any:
            async with session.get(path, raise_for_status=True) as answer:
                return await answer.json()

        async def call(selection: Selection) -> Rows:
            if not selection.limit:
                return list(await asyncio.gather(*(get(f"/products/{each}") for each in selection.ids)))
            if selection.how == "one by one":
                return rows.chosen([await get(f"/catalogue/{each}") for each in selection.ids], selection.fields)
            return rows.chosen(await get(f"/catalogue?limit={selection.limit}"), selection.fields)

        yield call

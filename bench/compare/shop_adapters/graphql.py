"""GraphQL through the gateway, by aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from bench.compare.adapters.port import Call, Link, Rows, Selection
from bench.compare.adapters.schemas.graphql import camel, posted


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Option "trusted": a single read names its document by a hash instead of sending it."""
    headers = {"Accept-Encoding": "identity", **link.headers}
    connector = aiohttp.TCPConnector(limit=link.connections)
    async with aiohttp.ClientSession(link.url, connector=connector, headers=headers) as session:

        async def call(selection: Selection) -> Rows:
            body = posted(selection, trusted="trusted" in link.options, page="products")
            async with session.post("/graphql", json=body, raise_for_status=True) as answer:
                data = (await answer.json())["data"]
            if not selection.limit:
                return list(data.values())
            return [{name: product[camel(name)] for name in selection.fields} for product in data["products"]]

        yield call

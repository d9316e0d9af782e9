"""GraphQL through the gateway, by aiohttp."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from bench.compare.adapters.graphql_schema import queried
from bench.compare.adapters.port import Ask, Call, Link, Rows


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    headers = {"Accept-Encoding": "identity", **link.headers}
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(link.url, connector=connector, headers=headers) as session:

        async def call(ask: Ask) -> Rows:
            async with session.post("/graphql", json={"query": queried(ask)}, raise_for_status=True) as answer:
                return list((await answer.json())["data"].values())

        yield call

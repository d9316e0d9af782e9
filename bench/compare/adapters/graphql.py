"""GraphQL over HTTP: Strawberry on FastAPI with its parser and validation caches, and aiohttp's client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
from fastapi import FastAPI
from strawberry.fastapi import GraphQLRouter

from bench.compare.adapters.graphql_schema import camel, queried, schema
from bench.compare.adapters.port import Ask, Call, Link, Rows, asgi

app = FastAPI(openapi_url=None)
app.include_router(GraphQLRouter(schema), prefix="/graphql")


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    return asgi(app)


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Option "pool": up to 6 connections instead of one."""
    headers = {"Accept-Encoding": "identity", **link.headers}
    connector = aiohttp.TCPConnector(limit=6 if "pool" in link.options else 1)
    async with aiohttp.ClientSession(link.url, connector=connector, headers=headers) as session:

        async def call(ask: Ask) -> Rows:
            query = queried(ask)
            async with session.post("/graphql", json={"query": query}, raise_for_status=True) as answer:
                data = (await answer.json())["data"]
            if not ask.limit:
                return list(data.values())
            found = [line["product"] for line in data["lines"]] if ask.how else data["catalogue"]
            return [{name: product[camel(name)] for name in ask.fields} for product in found]

        yield call

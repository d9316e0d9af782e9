"""GraphQL over HTTP: Strawberry on FastAPI with its parser and validation caches, and aiohttp's client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI
from strawberry.fastapi import GraphQLRouter

from bench.compare.adapters.port import Call, Link, Rows, Selection, asgi
from bench.compare.adapters.schemas.graphql import TRUSTED, camel, posted, schema


class Router(GraphQLRouter[Any, Any]):
    """Executes a document stored under its hash (GraphQL over HTTP, appendix A), and any other."""

    def decode_json(self, data: str | bytes) -> object:
        requested = json.loads(data)
        return requested if "documentId" not in requested else {**requested, "query": TRUSTED[requested["documentId"]]}


app = FastAPI(openapi_url=None)
app.include_router(Router(schema), prefix="/graphql")


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    return asgi(app, options)


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Option "trusted": a single read names its document by a hash instead of sending it."""
    headers = {"Accept-Encoding": "identity", **link.headers}
    connector = aiohttp.TCPConnector(limit=link.connections, ssl=link.trust or True)
    async with aiohttp.ClientSession(link.url, connector=connector, headers=headers) as session:

        async def call(selection: Selection) -> Rows:
            body = posted(selection, trusted="trusted" in link.options)
            async with session.post("/graphql", json=body, raise_for_status=True) as answer:
                data = (await answer.json())["data"]
            if not selection.limit:
                return list(data.values())
            found = [line["product"] for line in data["lines"]] if selection.how else data["catalogue"]
            return [{name: product[camel(name)] for name in selection.fields} for product in found]

        yield call

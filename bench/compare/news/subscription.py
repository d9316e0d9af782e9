"""A GraphQL subscription: Strawberry on FastAPI, and graphql-transport-ws spoken over websockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager

import strawberry
from fastapi import FastAPI
from strawberry.fastapi import GraphQLRouter
from websockets import Subprotocol
from websockets.asyncio.client import connect

from bench.compare.adapters.port import Link, asgi
from bench.compare.news.feed import FEED, Seen


@strawberry.type
class News:
    id: int
    type: str
    at: float


@strawberry.type
class Query:
    ready: bool = True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def news(self) -> AsyncIterator[News]:
        async for event in FEED.following():
            yield News(**event)


app = FastAPI(openapi_url=None)
app.include_router(GraphQLRouter(strawberry.Schema(Query, subscription=Subscription)), prefix="/graphql")


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    return asgi(app)


async def watch(link: Link, seen: Seen, ready: asyncio.Event) -> None:
    url, protocol = f"ws://127.0.0.1:{link.port}/graphql", Subprotocol("graphql-transport-ws")
    async with connect(url, subprotocols=[protocol], compression=None, proxy=None) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        subscribe = {"type": "subscribe", "id": "1", "payload": {"query": "subscription { news { id type at } }"}}
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "connection_ack":
                await socket.send(json.dumps(subscribe))
                ready.set()
            elif message["type"] == "next":
                seen(message["payload"]["data"]["news"])

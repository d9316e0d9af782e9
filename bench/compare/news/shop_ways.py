"""The shop's own ways to follow an order: each calls `seen(order id, status)` as soon as it has a new status."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
from fastapi import FastAPI, Request
from websockets import Subprotocol
from websockets.asyncio.client import connect

from bench.compare.adapters.port import Link, asgi
from bench.compare.news import webhook

Seen = Callable[[str, str], None]
# What a polling client waits for: the orders that it has placed.
Orders = asyncio.Queue[str]
_PLAIN: dict[str, Any] = {"compression": None, "proxy": None}
_PHASES = 5
_END = ("shipped", "rejected", "cancelled")


async def websocket(link: Link, seen: Seen, ready: asyncio.Event, orders: Orders) -> None:
    """The notifier, over a WebSocket."""
    url = f"{link.url.replace('http', 'ws', 1)}/notifications"
    async with connect(url, additional_headers=link.headers, **_PLAIN) as socket:
        await socket.send(json.dumps({"action": "subscribe", "topics": ["order.*"]}))
        async for text in socket:
            frame = json.loads(text)
            if frame["type"] == "subscribed":
                ready.set()
            else:
                _record(frame, seen)


async def sse(link: Link, seen: Seen, ready: asyncio.Event, orders: Orders) -> None:
    """The notifier, by server-sent events."""
    forever = aiohttp.ClientTimeout(total=None)
    async with (
        aiohttp.ClientSession(link.url, headers=link.headers, timeout=forever) as session,
        session.get("/notifications/stream?topics=order.*", raise_for_status=True) as answer,
    ):
        ready.set()
        async for line in answer.content:
            if line.startswith(b"data:"):
                _record(json.loads(line[5:]), seen)


def _record(frame: dict[str, Any], seen: Seen) -> None:
    kind, _, status = str(frame.get("type", "")).partition(".")
    if kind == "order":
        seen(str(frame["subject"]), status)


async def subscription(link: Link, seen: Seen, ready: asyncio.Event, orders: Orders) -> None:
    """GraphQL's subscription through the gateway, which has it from the notifier."""
    url, protocol = f"{link.url.replace('http', 'ws', 1)}/graphql", Subprotocol("graphql-transport-ws")
    async with connect(url, subprotocols=[protocol], additional_headers=link.headers, **_PLAIN) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        query = "subscription { orderUpdates { id event } }"
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "connection_ack":
                await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
                ready.set()
            elif message["type"] == "next":
                update = message["payload"]["data"]["orderUpdates"]
                seen(update["id"], update["event"].partition(".")[2])
            elif message["type"] == "ping":
                await socket.send(json.dumps({"type": "pong"}))


def first_polls(every: float) -> Iterator[float]:
    """Seconds from each order to its first poll: anywhere in the period, since polls do not know when an order begins.

    The same in each run, and the same share of each period.
    """
    draw = random.Random(_PHASES)  # noqa: S311 - no secret
    while True:
        yield draw.random() * every


async def polling(link: Link, seen: Seen, ready: asyncio.Event, orders: Orders) -> None:
    """`GET /v1/orders/{id}`. Options: seconds between polls, and "conditional"; or "long": `Prefer: wait`."""
    how = link.options[0]
    every = 0.0 if how == "long" else float(how)
    first = first_polls(every)
    async with aiohttp.ClientSession(link.url, headers={"Accept-Encoding": "identity", **link.headers}) as session:
        ready.set()
        while True:
            order = await orders.get()
            await asyncio.sleep(next(first))
            await _polled(session, order, seen, link.options, every)


async def _polled(
    session: aiohttp.ClientSession, order: str, seen: Seen, options: tuple[str, ...], every: float
) -> None:
    tag, status = "", ""
    while status not in _END:
        conditions = {"If-None-Match": tag} if tag and not {"long", "conditional"}.isdisjoint(options) else {}
        if "long" in options:
            conditions["Prefer"] = "wait=20"
        async with session.get(f"/v1/orders/{order}", headers=conditions, raise_for_status=True) as answer:
            tag = answer.headers["ETag"]
            found = (await answer.json())["status"] if answer.status == 200 else status
        if found != status:
            status = found
            seen(order, status)
        if status not in _END:
            await asyncio.sleep(every)


async def webhooks(link: Link, seen: Seen, ready: asyncio.Event, orders: Orders) -> None:
    """The shop calls us: `server_port` is the gateway's, where we register; `port` a proxy's on the way back."""
    app = FastAPI(openapi_url=None)

    @app.post("/hook")
    async def hook(request: Request) -> None:
        event = await request.json()
        _record({"type": event["type"], "subject": event["data"]["order_id"]}, seen)

    async with asgi(app) as port, aiohttp.ClientSession(link.direct, headers=link.headers) as session:
        webhook.LISTENING.append(port)
        body = {"url": f"http://127.0.0.1:{link.port}/hook", "event_types": ["order.*"]}
        async with session.post("/v1/webhook-endpoints", json=body, raise_for_status=True) as answer:
            mine = (await answer.json())["id"]
        ready.set()
        try:
            await asyncio.Event().wait()
        finally:
            async with session.delete(f"/v1/webhook-endpoints/{mine}"):
                pass


WAYS: dict[str, Callable[[Link, Seen, asyncio.Event, Orders], Awaitable[None]]] = {
    "websocket": websocket,
    "sse": sse,
    "subscription": subscription,
    "polling": polling,
    "webhooks": webhooks,
}

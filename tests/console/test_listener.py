"""The page's own subscription to the notifier, beside the orders that are placed from it."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from console.play import listener
from console.play.listener import Listener


async def test_a_silent_notifier_does_not_keep_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that accepts connections and does not answer is waited for once, shortly; it has its subscription later."""
    monkeypatch.setattr(listener, "_MAX_WAIT", 0.01)
    may, handshakes = asyncio.Event(), 0
    subscribed: asyncio.Queue[object] = asyncio.Queue()

    async def silent(connection: ServerConnection, request: Request) -> Response | None:
        nonlocal handshakes
        handshakes += 1
        await may.wait()
        known = request.headers["authorization"] == "Bearer token"
        return None if known else connection.respond(HTTPStatus.UNAUTHORIZED, "")

    async def serving(connection: ServerConnection) -> None:
        await subscribed.put(json.loads(await connection.recv()))
        await connection.wait_closed()

    async with serve(serving, "127.0.0.1", 0, process_request=silent) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        listening = Listener(f"ws://127.0.0.1:{port}/notifications")
        try:
            async with asyncio.timeout(10):
                for _ in range(2):
                    await listening.listen("demo", "token")
                assert subscribed.empty()
                may.set()
                assert await subscribed.get() == {"action": "subscribe", "topics": ["order.*"]}
        finally:
            await listening.close()
    assert handshakes == 1

"""A fake notifier that the test speaks through, and a client of graphql-transport-ws."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import websockets
from aiohttp import WSMsgType, web

from tests.graphql.conftest import TIME

TIMEOUT = 60.0


@dataclass
class FakeNotifier:
    """Speaks the notifier's protocol: `say` is an event for every subscriber; `after` has their positions."""

    position: int = 100
    port: int = 0
    sockets: dict[web.WebSocketResponse, str] = field(default_factory=dict)
    after: list[str | None] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    resync: bool = False
    away: bool = False
    # Connections from now on are not pinged back.
    frozen: bool = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if self.away:
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=not self.frozen)
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            frame = json.loads(message.data)
            assert (frame["action"], frame["topics"]) == ("subscribe", ["order.*"])
            self.after.append(frame.get("after"))
            if self.resync:
                await socket.send_json({"type": "resync"})
                continue
            start = int(frame.get("after") or self.position)
            await socket.send_json({"type": "subscribed", "topics": ["order.*"], "position": str(start)})
            for event in self.log:
                if int(event["id"]) > start:
                    await socket.send_json(event)
            self.sockets[socket] = request.headers["Authorization"]
        self.sockets.pop(socket, None)
        return socket

    async def say(self, type_: str, order_id: str) -> None:
        self.position += 1
        event = {"id": str(self.position), "type": type_, "time": TIME, "subject": order_id, "data": {}}
        self.log.append(event)
        for socket in list(self.sockets):
            await socket.send_json(event)

    async def close(self, code: int) -> None:
        """Close every connection."""
        for socket in list(self.sockets):
            await socket.close(code=code)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen, at the same port each time."""
        app = web.Application()
        app.router.add_get("/notifications", self.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await self.close(1001)
            await runner.cleanup()


class SocketClient:
    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def receive(self) -> Any:
        async with asyncio.timeout(TIMEOUT):
            return json.loads(await self.socket.recv())

    async def init(self, token: str = "") -> None:
        payload = {"payload": {"authorization": f"Bearer {token}"}} if token else {}
        await self.send(type="connection_init", **payload)
        assert await self.receive() == {"type": "connection_ack"}

    async def subscribe(self, operation_id: str, query: str, **more: Any) -> None:
        await self.send(id=operation_id, type="subscribe", payload={"query": query, **more})

    async def closed(self) -> tuple[int | None, str | None]:
        """Read on until the server closes; its code and reason."""
        async with asyncio.timeout(TIMEOUT):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason


@asynccontextmanager
async def connected(
    url: str, *, subprotocol: str = "graphql-transport-ws", headers: Mapping[str, str] | None = None
) -> AsyncIterator[SocketClient]:
    """`url` of http; `subprotocol` empty for none."""
    async with websockets.connect(
        url.replace("http", "ws", 1),
        subprotocols=[websockets.Subprotocol(subprotocol)] if subprotocol else None,
        additional_headers=dict(headers or {}),
        open_timeout=60,
    ) as socket:
        yield SocketClient(socket)

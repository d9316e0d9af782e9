"""A customer's WebSocket, and what came over it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import websockets

from tests.compose.stack import Stack
from tests.waiting import eventually

JOURNEY = ["order.placed", "order.confirmed", "order.paid", "order.shipped"]


@dataclass
class Customer:
    """Keeps the frames that it receives, and the last position, across connections."""

    stack: Stack
    setting: str = "SHOP_NOTIFIER_PORT"
    frames: list[dict[str, Any]] = field(default_factory=list)
    # The copy of notifier that the load balancer chose, while it is connected.
    copy: str = ""
    _subscribed: bool = False

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[websockets.ClientConnection]:
        """Be connected, and subscribed from where the last connection ended."""
        url = self.stack.url(self.setting).replace("http", "ws", 1) + "/notifications"
        async with websockets.connect(url, additional_headers=await self.stack.bearer()) as socket:
            request: dict[str, Any] = {"action": "subscribe", "topics": ["order.*"]}
            if self.frames:
                request["after"] = self.frames[-1]["id"]
            await socket.send(json.dumps(request))
            listening = asyncio.create_task(self._listen(socket))
            try:
                await eventually(lambda: self._subscribed or None, within=20)
                assert socket.response is not None
                self.copy = socket.response.headers.get("x-served-by", "")
                yield socket
            finally:
                self._subscribed, self.copy = False, ""
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, socket: websockets.ClientConnection) -> None:
        async for text in socket:
            frame = json.loads(text)
            if frame["type"] == "subscribed":
                self._subscribed = True
            elif frame["type"].startswith("order."):
                self.frames.append(frame)
            else:
                raise AssertionError(f"not expected: {frame}")

    def seen(self, order_id: str) -> list[str]:
        """The types of an order's events, in the order in which they came."""
        return [frame["type"] for frame in self.frames if frame["subject"] == order_id]

    async def sees_shipped(self, order_id: str, within: float = 60) -> None:
        """Wait for the journey's last event, and hold that each came once and in order."""
        await eventually(lambda: "order.shipped" in self.seen(order_id), within=within)
        assert self.seen(order_id) == JOURNEY

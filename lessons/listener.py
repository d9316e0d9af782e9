"""A client of the notifier that can go away and come back, at any copy of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import websockets.asyncio.client
from websockets.exceptions import ConnectionClosed

from lessons.kit import Shop, eventually

# What came: the event's id, its type, and what it is about.
News = tuple[str, str, str]


class Listener:
    """`seen` is what has come, in order; `last` the id with which it comes back; `resyncs` counts its resyncs."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.seen: list[News] = []
        self.last = ""
        self.resyncs = 0

    @property
    def subjects(self) -> list[str]:
        """What the events are about."""
        return [subject for _, _, subject in self.seen]

    async def has(self, *subjects: str, within: float) -> list[str]:
        """Those that have not come, given some time; none once it got a resync."""

        def missing() -> list[str]:
            return [subject for subject in subjects if subject not in self.subjects]

        await eventually(lambda: self.resyncs or not missing(), within=within)
        return missing()

    @asynccontextmanager
    async def at(self, url: str, *, websocket: bool = False, within: float) -> AsyncIterator[None]:
        """Listen at this copy, and go on after the last event that has come."""
        ready = asyncio.Event()
        reading = asyncio.create_task((self._socket if websocket else self._stream)(url, ready))
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait([reading, waiting], timeout=within, return_when=asyncio.FIRST_COMPLETED)
            yield
        finally:
            for task in (reading, waiting):
                task.cancel()
            with suppress(asyncio.CancelledError, httpx.TransportError, ConnectionClosed, OSError):
                await reading

    async def _stream(self, url: str, ready: asyncio.Event) -> None:
        """Server-sent events."""
        headers = await self._shop.bearer() | ({"Last-Event-ID": self.last} if self.last else {})
        async with self._shop.http.stream("GET", f"{url}/notifications/stream", headers=headers) as answer:
            async for line in answer.raise_for_status().aiter_lines():
                ready.set()
                field, _, value = line.partition(": ")
                if field == "id":
                    self.last = value
                elif field == "data":
                    self._take(json.loads(value))

    async def _socket(self, url: str, ready: asyncio.Event) -> None:
        """WebSocket."""
        address = f"{url.replace('http', 'ws', 1)}/notifications"
        async with websockets.asyncio.client.connect(
            address, additional_headers=await self._shop.bearer(), proxy=None
        ) as socket:
            await socket.send(json.dumps({"action": "subscribe", "topics": ["#"], "after": self.last or None}))
            async for message in socket:
                frame = json.loads(message)
                if frame["type"] == "subscribed":
                    ready.set()
                    self.last = self.last or frame["position"]
                elif "id" in frame:
                    self.last = frame["id"]
                self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "resync":
            self.resyncs += 1
        elif "id" in frame:
            self.seen.append((frame["id"], frame["type"], frame["subject"]))

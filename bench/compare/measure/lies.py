"""A client that measures wrongly, in the ways of public benchmarks. Never used for a figure but `--make-it-lie`'s."""

from __future__ import annotations

import json
import time

from websockets.asyncio.client import connect

from bench.compare.adapters.port import Selection
from bench.compare.measure.sessions import Client
from bench.compare.measure.together import together


class Liar(Client):
    async def closed(self, selection: Selection, seconds: float, least: int) -> list[float]:
        """A closed loop: the next call waits for the last one, so a stall delays one call and hides all others.

        For so many seconds, and for `least` calls if they take longer.
        """
        call = self._opened()
        found: list[float] = []
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until or len(found) < least:
            await call(selection)
            found.append(time.perf_counter() - began)
        return found

    async def one_start(self, count: int) -> list[float]:
        """All at once, and each "latency" counted from the one start: its place in the queue."""
        call, found = self._opened(), []
        began = time.perf_counter()

        async def one() -> None:
            await call(Selection())
            found.append(time.perf_counter() - began)

        await together(one() for _ in range(count))
        return found

    async def publishes(self, port: int, count: int) -> dict[str, float]:
        """Requests a second over a WebSocket: counted when answered (right), and when written (wrong)."""
        async with connect(f"ws://127.0.0.1:{port}", compression=None, proxy=None) as socket:
            began = time.perf_counter()
            for number in range(count):
                await socket.send(json.dumps({"id": number, "product": "42"}))
            written = time.perf_counter() - began
            for _ in range(count):
                await socket.recv()
            return {"right": count / (time.perf_counter() - began), "wrong": count / written}

"""Workers of E7: orders placed, and waited for, on the bench's server and in the shop."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from fastapi import FastAPI

from bench.compare.adapters.port import asgi
from bench.compare.work.server import WORK_SECONDS, serve

_POLL = 0.005
_TIMEOUT = 30.0


class WorkServer:
    """Serves work that takes so many seconds."""

    def __init__(self, seconds: float = WORK_SECONDS) -> None:
        self._stack = AsyncExitStack()
        self._received: list[str] = []
        self._seconds = seconds

    async def serve(self) -> int:
        """Begin to serve; returns the port."""
        return await self._stack.enter_async_context(serve(self._received, self._seconds))

    async def received(self) -> list[str]:
        """The ids of all orders that have arrived so far."""
        return self._received


class Customer:
    """Places an order and waits for its effect: seconds to the answer, and to the effect."""

    async def bench(self, url: str, how: str) -> dict[str, float]:
        """Place an order on the bench's server: sync, queue, or webhook (the answer is sent to a URL of ours)."""
        if how == "webhook":
            return await self._by_webhook(url)
        async with aiohttp.ClientSession(url) as session, asyncio.timeout(_TIMEOUT):
            began = time.perf_counter()
            async with session.post("/orders", params={"how": how}, raise_for_status=True) as answer:
                order = (await answer.json())["id"]
            answered = time.perf_counter() - began
            while True:
                async with session.get(f"/orders/{order}", raise_for_status=True) as answer:
                    if await answer.json():
                        return {"answer": answered, "effect": time.perf_counter() - began}
                await asyncio.sleep(_POLL)

    async def _by_webhook(self, url: str) -> dict[str, float]:
        app, called = FastAPI(openapi_url=None), asyncio.Event()

        @app.post("/hook")
        async def hook(order: dict[str, str]) -> None:
            called.set()

        async with asgi(app) as port, aiohttp.ClientSession(url) as session, asyncio.timeout(_TIMEOUT):
            params = {"how": "webhook", "callback": f"http://127.0.0.1:{port}/hook"}
            began = time.perf_counter()
            async with session.post("/orders", params=params, raise_for_status=True):
                answered = time.perf_counter() - began
            await called.wait()
            return {"answer": answered, "effect": time.perf_counter() - began}

    async def accepted(self, url: str, headers: dict[str, str], body: dict[str, Any], path: str) -> dict[str, Any]:
        """Place an order and return `id` and `answer` seconds, without waiting for its effect."""
        async with aiohttp.ClientSession(url) as session, asyncio.timeout(_TIMEOUT):
            began = time.perf_counter()
            own = {**headers, "Idempotency-Key": uuid.uuid4().hex}
            async with session.post(path, json=body, headers=own, raise_for_status=True) as answer:
                return {"id": (await answer.json())["id"], "answer": time.perf_counter() - began}

    async def shop(
        self, url: str, headers: dict[str, str], body: dict[str, Any], status: str, within: float
    ) -> dict[str, float]:
        """Seconds to the answer in the shop, and until the order has this status. Raises `TimeoutError`."""
        began = time.perf_counter()
        placed = await self.accepted(url, headers, body, "/v1/orders")
        if await self.reached(url, headers, placed["id"], status, within) is None:
            raise TimeoutError(f"order {placed['id']} was not {status} within {within} s")
        return {"answer": placed["answer"], "effect": time.perf_counter() - began}

    async def done(self, url: str, order: str) -> bool:
        """Whether the bench's server has done this order."""
        async with aiohttp.ClientSession(url) as session, session.get(f"/orders/{order}") as answer:
            return bool(await answer.json())

    async def reached(self, url: str, headers: dict[str, str], order: str, status: str, within: float) -> float | None:
        """Seconds until the shop's order has this status; None when it has not within so many seconds."""
        began = time.perf_counter()
        async with aiohttp.ClientSession(url, headers=headers) as session:
            while time.perf_counter() < began + within:
                async with session.get(f"/v1/orders/{order}", raise_for_status=True) as answer:
                    if (await answer.json())["status"] == status:
                        return time.perf_counter() - began
                await asyncio.sleep(_POLL)
        return None

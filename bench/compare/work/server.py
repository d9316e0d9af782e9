"""A bench-only server of work that takes a while: done before the answer, or queued in this process's memory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from fastapi import FastAPI

from bench.compare.adapters.port import asgi

WORK_SECONDS = 0.05


@asynccontextmanager
async def serve(received: list[str], seconds: float) -> AsyncIterator[int]:
    """`POST /orders?how=sync|queue|webhook`, and `GET /orders/{id}`: whether it is done.

    The work takes so many `seconds`; each order's id is added to `received` before it begins.
    """
    app = FastAPI(openapi_url=None)
    done: set[str] = set()
    queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(10_000)

    async def work() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                order, callback = await queue.get()
                await asyncio.sleep(seconds)
                done.add(order)
                if callback:
                    async with session.post(callback, json={"id": order}, raise_for_status=True):
                        pass

    @app.post("/orders")
    async def place(how: str, callback: str = "") -> dict[str, str]:
        order = uuid.uuid4().hex
        received.append(order)
        if how == "sync":
            await asyncio.sleep(seconds)
            done.add(order)
            return {"id": order, "status": "done"}
        queue.put_nowait((order, callback))
        return {"id": order, "status": "accepted"}

    @app.get("/orders/{order}")
    async def status(order: str) -> bool:
        return order in done

    working = asyncio.create_task(work())
    async with asgi(app) as port:
        yield port
    working.cancel()

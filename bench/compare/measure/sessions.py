"""Workers: a server of an adapter, or a client that gets what to call, how often and when."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any

from bench.compare.adapters.port import Adapter, Call, Link, Rows, Selection
from bench.compare.adapters.rows import READS
from bench.compare.measure.open_loop import open_loop
from bench.compare.measure.together import together

# In an open loop a call that takes longer has failed; others may take as long as a busy machine needs.
_CALL_TIMEOUT, _SESSION_TIMEOUT = 10.0, 60.0


def adapter(module: str) -> Adapter:
    """The adapter module of this whole name."""
    found: Any = import_module(module)
    return found  # type: ignore[no-any-return]


class Server:
    """Serves an adapter."""

    def __init__(self, module: str, options: tuple[str, ...]) -> None:
        self._adapter = adapter(module)
        self._options = options
        self._stack = AsyncExitStack()

    async def serve(self) -> int:
        """Begin to serve; returns the port."""
        return await self._stack.enter_async_context(self._adapter.serve(self._options))

    async def reads(self) -> int:
        """The number of reads of the table so far."""
        return READS.count


class Client:
    """Calls an adapter's server over connections that are kept from `open` to `close`."""

    def __init__(self, module: str) -> None:
        self._adapter = adapter(module)
        self._stack = AsyncExitStack()
        self._call: Call | None = None

    async def open(self, link: Link) -> None:
        self._call = await self._stack.enter_async_context(self._adapter.connect(link))

    async def close(self) -> None:
        await self._stack.aclose()
        self._stack, self._call = AsyncExitStack(), None

    async def calls(self, selection: Selection, count: int) -> dict[str, Any]:
        """One after the other: `seconds` of each, `cpu` seconds of this process in all, and the last `answer`."""
        call, seconds, answer = self._opened(), [], Rows()
        cpu = time.process_time()
        for _ in range(count):
            began = time.perf_counter()
            async with asyncio.timeout(_SESSION_TIMEOUT):
                answer = await call(selection)
            seconds.append(time.perf_counter() - began)
        return {"seconds": seconds, "cpu": time.process_time() - cpu, "answer": answer}

    async def rate(self, selection: Selection, rate: float, seconds: float) -> dict[str, Any]:
        """An open loop: `seconds` of each call from its intended start (infinite: failed), in all `cpu` and `elapsed`.

        `elapsed` is until the last answer: behind a slow server that is longer than the `seconds` of the schedule.
        """
        call = self._opened()
        began, cpu = time.perf_counter(), time.process_time()
        latencies = await open_loop(lambda: call(selection), rate, seconds, timeout=_CALL_TIMEOUT)
        used, elapsed = time.process_time() - cpu, time.perf_counter() - began
        return {"seconds": latencies, "cpu": used, "elapsed": elapsed}

    async def capacity(self, selection: Selection, seconds: float, at_once: int) -> float:
        """Calls a second when `at_once` callers call without a pause: a measure of capacity, not of latency."""
        call, done = self._opened(), 0
        until = time.perf_counter() + seconds

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                await call(selection)
                done += 1

        began = time.perf_counter()
        async with asyncio.timeout(seconds + _SESSION_TIMEOUT):
            await together(caller() for _ in range(at_once))
        return done / (time.perf_counter() - began)

    async def fresh(self, link: Link, selections: list[Selection]) -> dict[str, Any]:
        """A new connection, and these questions after each other: `seconds` in all, each one's `ends`, `answer`."""
        ends: list[float] = []
        answer: Rows = []
        began = time.perf_counter()
        async with asyncio.timeout(_SESSION_TIMEOUT * len(selections)), self._adapter.connect(link) as call:
            for selection in selections:
                answer += await call(selection)
                ends.append(time.perf_counter() - began)
            seconds = time.perf_counter() - began
        return {"seconds": seconds, "ends": ends, "answer": answer}

    async def failing(self, selection: Selection, within: float) -> dict[str, Any]:
        """A call that is to fail: `ms` until it does, and the `error` that the library raises for it.

        Raises `RuntimeError` when it is answered.
        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(within):
                await self._opened()(selection)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever the library raises is the answer
            return {"ms": (time.perf_counter() - began) * 1e3, "error": named(error)}
        raise RuntimeError("the call was answered, though its server had failed")

    def _opened(self) -> Call:
        if self._call is None:
            raise RuntimeError("open comes before calls")
        return self._call


def named(error: BaseException) -> str:
    """The error's type, with gRPC's and Connect's status where it has one."""
    code = getattr(error, "code", None)
    status = code() if callable(code) else code
    name = getattr(status, "name", "")
    return f"{type(error).__name__} {name}".strip()


def failed(seconds: list[float]) -> int:
    """The number of calls that failed."""
    return sum(1 for each in seconds if math.isinf(each))

"""Processes for servers and clients: each runs one object whose methods the measuring process calls over a pipe.

They are forked from a server that has imported the adapters already (as `shop up` does), so each is there in a
fraction of a second, and they end when the measuring process does, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

import uvloop

_ANSWER_TIMEOUT = 180.0
_STOP_TIMEOUT = 5.0
PRELOADED = [
    "bench.compare.measure.sessions",
    *(
        f"bench.compare.adapters.{name}"
        for name in ("rest", "rest_http2", "graphql", "grpc_aio", "connect", "websocket", "soap")
    ),
    *(f"bench.compare.news.{name}" for name in ("polling", "sse", "websocket", "subscription", "webhook", "sessions")),
    "bench.compare.bulk.http",
    "bench.compare.bulk.grpc_stream",
    "bench.compare.bulk.shop_sessions",
    "bench.compare.news.shop_sessions",
    *(f"bench.compare.shop_adapters.{name}" for name in ("rest", "graphql", "grpc_aio", "soap", "mcp")),
    "bench.compare.work.sessions",
]


class WorkerFailed(Exception):
    """A method failed in the worker; the text is its type and message."""


class Worker:
    """A process and its pipe. One call at a time."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe
        self._calling = asyncio.Lock()
        # No call is answered any more.
        self.ended = False
        # Held by what uses the worker for several calls in a row.
        self.turn = asyncio.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    async def call(self, method: str, /, timeout: float = _ANSWER_TIMEOUT, **arguments: Any) -> Any:
        """Call a method and return what it returns. Raises `WorkerFailed`, also for no answer within `timeout` s.

        The process ends with a call that is not waited for any more: its late answer would be the next call's.
        """
        async with self._calling:
            if self.ended:
                raise WorkerFailed(f"{method}: the process has ended")
            answered = False
            try:
                self._pipe.send((method, arguments))
                if not await asyncio.to_thread(self._pipe.poll, timeout):
                    raise WorkerFailed(f"{method}: no answer within {timeout} s")
                fine, value = self._pipe.recv()
                answered = True
            except (EOFError, ConnectionError):
                raise WorkerFailed(f"{method}: the process has ended") from None
            finally:
                if not answered:
                    self.kill()
        if not fine:
            raise WorkerFailed(f"{method}: {value}")
        return value

    def kill(self) -> None:
        """End the process at once, as a crash does."""
        self.ended = True
        self._process.kill()
        self._process.join(_STOP_TIMEOUT)

    def stop(self) -> None:
        self._process.terminate()
        self._process.join(_STOP_TIMEOUT)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_STOP_TIMEOUT)
        self._pipe.close()


def context() -> ForkServerContext:
    """The start method, with what is to be imported once."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    return found


@asynccontextmanager
async def worker(target: str, *arguments: Any) -> AsyncIterator[Worker]:
    """A process that runs `module:Class(*arguments)`; its methods are coroutines."""
    ours, theirs = multiprocessing.Pipe()
    process = context().Process(target=_work, args=(theirs, target, arguments), daemon=True)
    process.start()
    theirs.close()
    running = Worker(process, ours)
    try:
        yield running
    finally:
        await asyncio.to_thread(running.stop)


def _work(pipe: Connection, target: str, arguments: tuple[Any, ...]) -> None:
    # How much waits in waitress is what an open loop is about.
    logging.getLogger("waitress").setLevel(logging.ERROR)
    module, _, name = target.partition(":")
    uvloop.run(_answer(pipe, getattr(import_module(module), name)(*arguments)))


async def _answer(pipe: Connection, session: Any) -> None:
    while True:
        try:
            method, arguments = await asyncio.to_thread(pipe.recv)
        except EOFError:
            return
        try:
            value = (time.process_time() if method == "cpu" else await getattr(session, method)(**arguments), True)
        except Exception as error:  # noqa: BLE001 - sent to the caller
            value = (f"{type(error).__name__}: {error}", False)
        pipe.send(value[::-1])

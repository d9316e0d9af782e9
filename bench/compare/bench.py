"""The ground of experiments: servers and clients that are started once, a shop when one is needed, and the folder."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import psutil

from bench.compare.adapters.port import Link, Selection
from bench.compare.measure.folder import Folder
from bench.compare.measure.statistics import digest
from bench.compare.measure.together import together
from bench.compare.measure.workers import Worker, worker
from bench.compare.tls import made
from bench.compare.variants import Variant
from bench.shop import RunningShop, fresh_shop

T = TypeVar("T")
# A client, its server's port, and the server where it is a worker of ours.
Started = tuple[Worker, int, Worker | None]

SESSIONS = "bench.compare.measure.sessions"
# Calls that are not timed: connections, caches of compiled queries and code paths are warm afterwards.
WARM_UP, QUICK_WARM_UP = 10, 3


class Unequal(Exception):
    """A variant answered something else than the others: it must not be timed beside them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A server and a client of one variant, each a process of its own. The server may be the shop (no worker)."""

    variant: Variant
    client: Worker
    port: int
    server: Worker | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def link(self, *options: str, port: int = 0) -> Link:
        """The client's way to the server, or through a proxy's `port`."""
        return Link(port or self.port, self.variant.with_options(*options), dict(self.headers), self.port)


class Bench:
    """One run of `shop compare`. `quick`: fewer rounds and calls, the same code; its figures are for tests only."""

    def __init__(self, folder: Folder, stack: AsyncExitStack, *, quick: bool, bare: bool) -> None:
        """`bare`: leave the shop out."""
        self.folder = folder
        self.quick = quick
        self.bare = bare
        self.rounds = 2 if quick else 7
        self.warm_up = QUICK_WARM_UP if quick else WARM_UP
        self._stack = stack
        self._processes: dict[object, asyncio.Task[Started]] = {}
        self._shop: asyncio.Task[RunningShop] | None = None
        self._tls = ""
        self._once: dict[Any, asyncio.Future[Any]] = {}
        self._began = time.perf_counter()

    def say(self, text: str) -> None:
        """Progress, on standard error."""
        sys.stderr.write(f"{time.perf_counter() - self._began:6.1f} s  {text}\n")

    def either(self, quick: T, full: T) -> T:
        return quick if self.quick else full

    async def worker(self, target: str, *arguments: Any) -> Worker:
        """A process that stays until the end of the run."""
        return await self._stack.enter_async_context(worker(target, *arguments))

    async def pair(self, variant: Variant) -> Pair:
        """The variant's two processes, started when first used.

        Variants that differ only in their client's options share both: one variant at a time has its turn there.
        """
        start = partial(self._start, variant)
        client, port, server = await self._started((variant.module, variant.server_options), start)
        return Pair(variant, client, port, server)

    async def _started(self, key: object, start: Callable[[], Coroutine[Any, Any, Started]]) -> Started:
        """The processes of this key: started when first used, and anew where one of them has ended since.

        Experiments share them, so one that is stopped does not stop their start.
        """
        if (found := self._processes.get(key)) is None or _ended(found):
            self._processes[key] = found = asyncio.create_task(start())
            self._stack.push_async_callback(_stop_start, found)
        return await asyncio.shield(found)

    async def _start(self, variant: Variant) -> Started:
        server, client = await together(
            (
                self.worker(f"{SESSIONS}:Server", variant.module, variant.server_options),
                self.worker(f"{SESSIONS}:Client", variant.module),
            )
        )
        return client, await server.call("serve"), server

    async def pairs(self, variants: Iterable[Variant]) -> list[Pair]:
        return await together(self.pair(variant) for variant in variants)

    async def shop_pair(self, variant: Variant, port: int, headers: dict[str, str]) -> Pair:
        """A client of one of the shop's processes, started when first used."""
        key = f"bench.compare.shop_adapters.{variant.adapter}"
        client, *_ = await self._started(key, partial(self._start_client, key))
        return Pair(variant, client, port, None, headers)

    async def _start_client(self, module: str) -> Started:
        return await self.worker(f"{SESSIONS}:Client", module), 0, None

    async def once(self, start: Callable[[Bench], Awaitable[T]]) -> T:
        """The result of `start`, which is called when first used."""
        self.begin(start)
        return await asyncio.shield(cast("asyncio.Future[T]", self._once[start]))

    def begin(self, start: Callable[[Bench], Awaitable[T]]) -> None:
        """Begin to start it, and go on meanwhile; a failure is raised where it is used."""
        if start not in self._once:
            self._once[start] = asyncio.ensure_future(start(self))
            self._once[start].add_done_callback(lambda begun: begun.cancelled() or begun.exception())

    def enter(self, manager: AbstractContextManager[T]) -> T:
        """Enter a context that is left at the end of the run."""
        return self._stack.enter_context(manager)

    def tls(self) -> str:
        """The adapters' option for TLS, with a certificate of this run."""
        if not self._tls:
            self._tls = made(Path(self.enter(tempfile.TemporaryDirectory(prefix="compare-tls-"))))
        return self._tls

    async def shop(self) -> RunningShop:
        """A whole shop on ports of its own, started when first used."""
        self.start_shop()
        assert self._shop is not None
        return await asyncio.shield(self._shop)

    def start_shop(self) -> None:
        """Begin to start the shop, and go on meanwhile: a quick run's figures are not for quoting."""
        if self._shop is None:
            self.say("starting a shop")
            starting = fresh_shop(SHOP_SIGN_IN_RATE_LIMIT="10000/minute", SHOP_WEBHOOKS_ALLOW_PRIVATE="true")
            self._shop = asyncio.create_task(asyncio.to_thread(starting.__enter__))
            self._stack.push_async_callback(self._stop_shop, self._shop, starting)

    @staticmethod
    async def _stop_shop(started: asyncio.Task[RunningShop], starting: AbstractContextManager[RunningShop]) -> None:
        # A start that failed has stopped by itself, and its error was raised where it was awaited.
        await asyncio.wait([started])
        if started.exception() is None:
            await asyncio.to_thread(starting.__exit__, None, None, None)

    def interleaved(self, variants: Sequence[T]) -> Iterator[tuple[int, T]]:
        """Every variant once a round, each round in an order of its own."""
        for number in range(self.rounds):
            order = list(variants)
            random.Random(number).shuffle(order)  # noqa: S311 - the same orders in each run
            yield from ((number, each) for each in order)


def _ended(started: asyncio.Task[Started]) -> bool:
    """Whether a start has failed, or a process that it started has ended."""
    if not started.done():
        return False
    if started.cancelled() or started.exception() is not None:
        return True
    client, _, server = started.result()
    return client.ended or (server is not None and server.ended)


async def _stop_start(started: asyncio.Task[Started]) -> None:
    # A start that failed was raised where it was awaited.
    started.cancel()
    await asyncio.wait([started])


async def check_equal(pairs: Sequence[Pair], selection: Selection, expected: str = "") -> str:
    """The SHA-256 that all answers to this question have. Raises `Unequal`, naming the variants that differ."""

    async def answered(pair: Pair) -> str:
        async with opened(pair) as client:
            return digest((await client.call("calls", selection=selection, count=1))["answer"])

    titles = [pair.variant.title for pair in pairs]
    found = dict(zip(titles, await together(map(answered, pairs)), strict=True))
    expected = expected or next(iter(found.values()))
    if wrong := [title for title, each in found.items() if each != expected]:
        raise Unequal(f"{', '.join(wrong)} answered something else than {next(iter(found))}: not timed")
    return expected


@asynccontextmanager
async def opened(pair: Pair, *options: str, port: int = 0) -> AsyncIterator[Worker]:
    """The pair's client with its connection open; no other variant has its turn there meanwhile."""
    async with pair.client.turn:
        await pair.client.call("open", link=pair.link(*options, port=port))
        try:
            yield pair.client
        finally:
            if not pair.client.ended:
                await pair.client.call("close")


def cpu_of(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used: by their own clock where the system has one (Linux)."""
    return sum(_cpu(pid) for pid in pids)


def _cpu(pid: int) -> float:
    if sys.platform == "linux":
        return time.clock_gettime(
            (~pid << 3) | 2
        )  # CPUCLOCK_SCHED of another process, as clock_getcpuclockid(3) makes it
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)

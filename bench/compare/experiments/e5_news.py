"""E5: how late is the news, and what does a watcher cost? Polling, waiting, streams, sockets, a webhook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from bench.compare.adapters.port import Link
from bench.compare.bench import Bench
from bench.compare.experiments.shop import news
from bench.compare.measure.proxies import Proxy, proxy
from bench.compare.measure.statistics import percentiles
from bench.compare.measure.together import together
from bench.compare.measure.workers import Worker, worker
from bench.compare.news.polls import costs

NAME = "E5"
_SESSIONS = "bench.compare.news.sessions"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to get news. `every`: seconds between polls; 0: no polling."""

    name: str
    title: str
    module: str
    options: tuple[str, ...] = ()
    every: float = 0.0
    crowd: bool = False


WAYS: tuple[Way, ...] = (
    Way("poll-0.1", "polling, 100 ms", "polling", ("0.1",), 0.1),
    Way("poll-1", "polling, 1 s", "polling", ("1",), 1.0),
    Way("conditional-1", "polling, 1 s, 304", "polling", ("1", "conditional"), 1.0),
    Way("poll-10", "polling, 10 s", "polling", ("10",), 10.0),
    Way("long-poll", "long polling", "polling", ("long",), crowd=True),
    Way("sse", "SSE", "sse", crowd=True),
    Way("websocket", "WebSocket", "websocket", crowd=True),
    Way("subscription", "GraphQL subscription", "subscription", crowd=True),
    Way("webhook", "webhook", "webhook"),
)
NEWS_TITLES = {way.name: way.title for way in WAYS}


async def run(bench: Bench) -> None:
    """One watcher of each way at the same time, over the same seconds; then a crowd of each that pushes."""
    ways = [way for way in WAYS if not (bench.quick and way.every > 1)]
    bench.say(f"{NAME}: one watcher of each way")
    async with AsyncExitStack() as stack:
        watched = await together(_Watched.begin(stack, way) for way in ways)
        quiet, events, apart = bench.either((1.1, 4, 0.3), (4.0, 14, 0.93))
        before = _counters(watched)
        await asyncio.sleep(quiet)
        silent = _counters(watched)
        await together(each.publisher.call("publish", count=events, every=apart) for each in watched)
        # A polling client sees the last event at its next poll.
        await asyncio.sleep(max(way.every for way in ways))
        # Each row's figures are of one moment: those of the later rows must not grow while the earlier are fetched.
        after, polls = _counters(watched), [each.polls() for each in watched]
        for number, (each, own) in enumerate(zip(watched, polls, strict=True)):
            delays = await each.watchers.call("delays")
            idle, window = (late.since(early, number) for early, late in ((before, silent), (silent, after)))
            traffic = {"idle_bytes_per_s": idle / (silent.at - before.at), "window_bytes": window, **own}
            facts = {"window_s": after.at - silent.at, "events": events, "seen": len(delays)}
            bench.folder.add(_row(each.way, "one", delays) | traffic | facts | {"connections": each.connections()})
            bench.folder.sample(NAME, each.way.name, "delay", [delays])
    crowds = [way for way in WAYS if way.crowd]
    if bench.quick:
        await together(_crowd(bench, way, 20) for way in crowds)
    else:
        for way in crowds:
            await _crowd(bench, way, 1_000)
    if not bench.bare:
        await news.run(bench)


@dataclass(frozen=True, slots=True)
class _Watched:
    way: Way
    publisher: Worker
    watchers: Worker
    between: Proxy

    @classmethod
    async def begin(cls, stack: AsyncExitStack, way: Way) -> _Watched:
        module = f"bench.compare.news.{way.module}"
        publisher = await stack.enter_async_context(worker(f"{_SESSIONS}:Publisher", module))
        watchers = await stack.enter_async_context(worker(f"{_SESSIONS}:Watchers", module))
        port = await publisher.call("serve")
        between = await stack.enter_async_context(proxy(port, keep=way.every > 0))
        await watchers.call("watch", link=Link(between.port, way.options, {}, port), count=1)
        if way.module == "webhook":
            between.target = await watchers.call("listening")
        return cls(way, publisher, watchers, between)

    def counted(self) -> int:
        return self.between.up + self.between.down

    def connections(self) -> int:
        return self.between.accepted

    def polls(self) -> dict[str, float]:
        """Bytes of a poll without news, and of an event, where it polls and has had both."""
        if (found := costs(self.between.recorded)) is None:
            return {}
        return {"poll_bytes": found[0], "event_bytes": found[1]}


@dataclass(frozen=True, slots=True)
class _Counters:
    """All watchers' bytes at a moment, in seconds of the machine's clock."""

    at: float
    bytes: list[int]

    def since(self, earlier: _Counters, number: int) -> int:
        return self.bytes[number] - earlier.bytes[number]


def _counters(watched: Sequence[_Watched]) -> _Counters:
    return _Counters(time.perf_counter(), [each.counted() for each in watched])


async def _crowd(bench: Bench, way: Way, count: int) -> None:
    """Memory of an idle watcher, and the cost and delay of an event for all of them."""
    bench.say(f"{NAME}: {count:,} watchers, {way.title}")
    module = f"bench.compare.news.{way.module}"
    async with worker(f"{_SESSIONS}:Publisher", module) as publisher, worker(f"{_SESSIONS}:Watchers", module) as all_:
        port = await publisher.call("serve")
        await all_.call("watch", link=Link(port, way.options), count=bench.either(2, 20))
        before = await publisher.call("memory")
        await all_.call("watch", link=Link(port, way.options), count=count)
        held = await publisher.call("memory") - before
        events = bench.either(2, 3)
        cpu = await publisher.call("publish", count=events, every=bench.either(0.3, 1.5))
        delays = await all_.call("delays")
        watchers = count + bench.either(2, 20)
        costs = {"memory_bytes": held / count, "cpu_ms": cpu * 1e3 / events / watchers}
        row = _row(way, "crowd", delays) | costs | {"watchers": watchers, "events": events, "seen": len(delays)}
        bench.folder.add(row)
        await all_.call("stop")


def _row(way: Way, kind: str, delays: list[float]) -> dict[str, Any]:
    names = {"experiment": NAME, "level": "bare", "variant": way.name, "kind": kind, "every_s": way.every}
    return {**names, **{f"{each}_ms": value for each, value in percentiles(delays).items()}}

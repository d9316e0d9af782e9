"""The dispatcher of outgoing webhooks, without a database: what it sends at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from chassis import wall_clock
from chassis.background import background
from chassis.errors import StoreUnavailable
from tests.waiting import eventually
from webhooks.outgoing.dispatcher import Dispatcher
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint, RetryPolicy

ENDPOINT = Endpoint("we_1", "123", False, "http://x", ["order.*"], "", "whsec_x", wall_clock.now())


class Store:
    """Fake: two deliveries are due until they are recorded; the first record fails, as a database that is away."""

    def __init__(self) -> None:
        self._due = {name: _delivery(name) for name in ("quick", "slow")}
        self._failures = 1
        self.recorded: list[str] = []

    async def shorten_waits(self, *_: object) -> None:
        """None waits."""

    async def endpoints_due(self, now: datetime) -> list[str]:
        return [ENDPOINT.id] if self._due else []

    async def next_due(self, now: datetime) -> datetime | None:
        return now if self._due else None

    async def due(self, endpoint_id: str, now: datetime, limit: int) -> tuple[Endpoint, list[Delivery]]:
        return ENDPOINT, [*self._due.values()]

    async def record(self, sent: Delivery, attempt: Attempt, decide: object) -> None:
        if self._failures:
            self._failures -= 1
            raise StoreUnavailable
        self.recorded.append(sent.id)
        self._due.pop(sent.id, None)


class Sender:
    """Fake: a slow endpoint answers when the quick delivery was sent once more, or after a second."""

    def __init__(self) -> None:
        self.under_way: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self._sent: Counter[str] = Counter()
        self._again = asyncio.Event()

    async def send(self, endpoint: Endpoint, delivery: Delivery) -> Attempt:
        name = delivery.id
        self._sent[name] += 1
        self.under_way[name] += 1
        self.most[name] = max(self.most[name], self.under_way[name])
        if self._sent["quick"] > 1:
            self._again.set()
        if name == "slow":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), 1)
        self.under_way[name] -= 1
        return Attempt(1, wall_clock.now(), 1, 200)


class Busy:
    """Fake: two endpoints always have something due, a third one has one delivery."""

    def __init__(self) -> None:
        self.recorded: list[str] = []
        self._endpoints = {name: replace(ENDPOINT, id=name) for name in ("slow1", "slow2", "other")}

    async def shorten_waits(self, *_: object) -> None:
        """None waits."""

    async def endpoints_due(self, now: datetime) -> list[str]:
        return ["slow1", "slow2"] if "other" in self.recorded else [*self._endpoints]

    async def next_due(self, now: datetime) -> datetime | None:
        return now

    async def due(self, endpoint_id: str, now: datetime, limit: int) -> tuple[Endpoint, list[Delivery]]:
        theirs = [] if endpoint_id in self.recorded and endpoint_id == "other" else [_delivery(endpoint_id)]
        return self._endpoints[endpoint_id], theirs

    async def record(self, sent: Delivery, attempt: Attempt, decide: object) -> None:
        self.recorded.append(sent.id)


class Alone:
    """Fake: a database on which there is one dispatcher."""

    async def if_alone(self, name: str, step: Callable[[], Awaitable[object]]) -> None:
        await step()


def _delivery(name: str) -> Delivery:
    return Delivery(name, ENDPOINT.id, "e1", "order.paid", "o1", b"{}", "", wall_clock.now())


async def test_endpoints_take_turns_where_there_are_too_few_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoints that always have something due keep no other from its turn, and go on by turns themselves."""
    monkeypatch.setattr("webhooks.outgoing.dispatcher._MAX_LANES", 2)
    store = Busy()

    class Answering:
        async def send(self, endpoint: Endpoint, delivery: Delivery) -> Attempt:
            await asyncio.sleep(0)
            return Attempt(1, wall_clock.now(), 1, 200)

    policy = RetryPolicy([1.0], timedelta(days=5), 60.0)
    dispatcher = Dispatcher(cast("Any", store), Answering(), cast("Any", Alone()), policy)
    async with background(dispatcher.run()):
        await eventually(lambda: "other" in store.recorded)
        count = len(store.recorded)
        await eventually(lambda: Counter(store.recorded[count:]).keys() == {"slow1", "slow2"})


async def test_an_endpoint_that_comes_anew_is_behind_those_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many endpoints come and go, one that has more due than one turn sends gets the next turn."""
    monkeypatch.setattr("webhooks.outgoing.dispatcher._MAX_LANES", 1)
    served: list[str] = []
    dispatcher = Dispatcher(cast("Any", None), cast("Any", None), cast("Any", None), cast("Any", None))

    async def serve(endpoint_id: str) -> None:
        served.append(endpoint_id)

    monkeypatch.setattr(dispatcher, "_serve", serve)
    for due in (["much"], ["new1", "much"], ["new2", "much"], ["new1", "much"]):
        dispatcher._open_lanes(due)
        await eventually(lambda: not dispatcher._lanes)
    assert served[:3] == ["much", "new1", "much"]


async def test_nothing_is_sent_twice_at_the_same_time() -> None:
    """When one of several attempts cannot be recorded, the others end before any of them is made again."""
    store, sender = Store(), Sender()
    policy = RetryPolicy([1.0], timedelta(days=5), 60.0)
    dispatcher = Dispatcher(cast("Any", store), sender, cast("Any", Alone()), policy)
    async with background(dispatcher.run()):
        await eventually(lambda: {"quick", "slow"} <= set(store.recorded))
    assert sender.most == {"quick": 1, "slow": 1}

"""Poison: messages that fail on every delivery, among good ones."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime

from chassis.broker import connect
from chassis.broker.port import MAX_SEARCHED, Broker, BrokerUnavailable, Event, Topology
from chassis.broker.topics import matches
from chassis.settings import TOPOLOGY, ProcessSettings
from shop.errors import Refused
from shop.fault.faults.ground import Ground

_COUNT = 3
_DEAD_WITHIN = 30.0
_POLL = 0.2


class Poison:
    """Publishes events that no consumer of a queue can read; they become dead letters, which the end drops."""

    momentary = True

    def __init__(self, ground: Ground, words: list[str]) -> None:
        self._topology = Topology.load(TOPOLOGY)
        if len(words) != 1 or words[0] not in self._topology.queues:
            raise Refused(f"poison must have a queue: {', '.join(self._topology.queues)}")
        (self._queue,) = words
        self.words = f"poison {self._queue}"
        settings = ProcessSettings(
            data_dir=ground.data_dir,
            broker_url=ground.env.get("SHOP_BROKER_URL", ""),
            event_log_url=ground.env.get("SHOP_EVENT_LOG_URL", ""),
        )
        self._url = settings.broker()
        self._log_url = settings.event_log_url
        self._ids = {uuid.uuid4().hex for _ in range(_COUNT)}
        self._met = 0

    def begin(self) -> str:
        """Publish them."""
        kind = self._topology.queues[self._queue][0].replace("*", "placed")
        now = datetime.now(UTC)
        events = [Event(one, kind, "/poison", f"poison-{one[:8]}", now, b'{"poison": tru') for one in self._ids]

        async def publish(broker: Broker) -> None:
            full = [each.queue for each in await broker.depths() if each.dead + _COUNT > MAX_SEARCHED]
            if cause := [name for name in full if any(matches(each, kind) for each in self._topology.queues[name])]:
                raise Refused(
                    f"poison would not be found behind {MAX_SEARCHED:,} dead letters of {', '.join(cause)}: "
                    "replay or drop some of these first"
                )
            await broker.publish(events)

        self._with_broker(publish)
        return f"{_COUNT} events {kind} published that no consumer can read"

    def end(self) -> str:
        """Wait until each is a dead letter, and drop those, wherever else the events went, too."""
        return self._with_broker(self._cleared)

    def met(self) -> int | None:
        """Dead letters that they became in the queue."""
        return self._met

    async def _cleared(self, broker: Broker) -> str:
        deadline = time.monotonic() + _DEAD_WITHIN
        left = set(self._ids)
        while left and time.monotonic() < deadline:
            left -= await broker.drop_dead_letters(self._queue, left)
            await asyncio.sleep(_POLL)
        self._met = dropped = _COUNT - len(left)
        for queue in self._topology.queues:
            dropped += len(await broker.drop_dead_letters(queue, self._ids))
        return f"{self._met} of {_COUNT} became dead letters of {self._queue}; {dropped} dropped in all queues"

    def _with_broker(self, call: object) -> str:
        async def run() -> str:
            broker = await connect(self._url, self._topology, log_url=self._log_url)
            try:
                return str(await call(broker))  # type: ignore[operator]
            finally:
                await broker.close()

        try:
            return asyncio.run(run())
        except BrokerUnavailable as error:
            raise Refused(f"the broker cannot be reached: {error}") from error

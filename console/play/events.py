"""An event published from the page: the newest of its type once more, as by a relay that died before marking it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from chassis.broker import connect
from chassis.broker.event_log import PositionExpired
from chassis.broker.port import Broker, BrokerUnavailable, Event, QueueDepth, Topology
from chassis.errors import Kind, ShopError, unavailable
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from console.play.call import Answer

log = logging.getLogger(__name__)

_TIMEOUT = 15.0
# Seconds from the end of one read of the depths to the next.
_DEPTHS_EVERY = 4.0
# How far back the newest event of a type is looked for.
_LOOK_BACK = 500


class EventCalls:
    """Connects to the broker for each event: nothing else here needs a connection."""

    def __init__(self, broker_url: str, event_log_url: str, telemetry: Telemetry) -> None:
        self._url = broker_url
        self._log_url = event_log_url
        self._telemetry = telemetry
        self._depths: list[QueueDepth] = []
        self._next_read_at = 0.0

    async def publish_again(self, event_type: str) -> Answer:
        """Raises PRECONDITION where there is no such event, or no broker is set for this process."""
        if not self._there():
            raise ShopError("NO_BROKER", "the console has no broker: set SHOP_BROKER_URL for it", Kind.PRECONDITION)
        try:
            async with asyncio.timeout(_TIMEOUT), self._connected() as broker:
                event = await _newest(broker, event_type)
                return await self._publish(broker, event)
        except (BrokerUnavailable, TimeoutError) as error:
            raise unavailable("the broker") from error

    async def depths(self) -> list[QueueDepth]:
        """Depth of each work queue, read at most every few seconds; none where no broker answers.

        While they are being read, they are what they were: there is one read at a time, however long it takes.
        """
        if time.monotonic() >= self._next_read_at:
            self._next_read_at = math.inf
            try:
                self._depths = await self._read_depths() if self._there() else []
            finally:
                self._next_read_at = time.monotonic() + _DEPTHS_EVERY
        return self._depths

    async def _read_depths(self) -> list[QueueDepth]:
        try:
            async with asyncio.timeout(_TIMEOUT), self._connected() as broker:
                return await broker.depths()
        except (BrokerUnavailable, TimeoutError) as error:
            log.warning("console: queue depths unknown", extra={"reason": repr(error)})
            return []

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Broker]:
        topology = Topology.load(TOPOLOGY)
        broker = await connect(self._url, topology, log_url=self._log_url, telemetry=self._telemetry)
        try:
            yield broker
        finally:
            await broker.close()

    def _there(self) -> bool:
        """Whether there is a broker: an embedded one must not be made here."""
        scheme, _, path = self._url.partition(":")
        return scheme != "embedded" or Path(path).exists()

    async def _publish(self, broker: Broker, event: Event) -> Answer:
        began = time.perf_counter()
        # In the page's trace, not in the one that published it before.
        extensions = {name: value for name, value in event.extensions.items() if name != "traceparent"}
        await broker.publish([replace(event, extensions=extensions)])
        took = (time.perf_counter() - began) * 1_000
        envelope = {"id": event.id, "type": event.type, "source": event.source, "subject": event.subject}
        # Whatever the data holds, it has been published: orjson does not write everything that can be read.
        text = json.dumps({**envelope, "data": event.shown()}, indent=2)
        return Answer("published", "confirmed by the broker", [], text, len(event.data), 0, took)


async def _newest(broker: Broker, event_type: str) -> Event:
    last = await broker.log.last_position()
    found: Event | None = None
    try:
        async with broker.log.tail(last.rewound(_LOOK_BACK), upto=last) as log:
            async for entry in log:
                if entry.event.type == event_type:
                    found = entry.event
    except PositionExpired as error:
        raise unavailable("the event log") from error
    if found is None:
        message = f"the event log has no {event_type} among its last {_LOOK_BACK} events: place an order first"
        raise ShopError("NO_SUCH_EVENT", message, Kind.PRECONDITION)
    return found

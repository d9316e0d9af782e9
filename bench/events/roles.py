"""A process of `bench.events`: `log ours|bare URL` appends and reads on command, `client TOKEN PORT…` counts frames.

A log receives `append COUNT BATCH`, `tail COUNT` (answered with a line once it is attached) and `read COUNT` (from the
beginning), and says when that began and ended, in monotonic seconds, which all processes of a machine share. A client
receives `take COUNT` and says when each of its connections had so many more events.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import orjson
import uvloop

from bench.events.bare import Deliver, Log, Take, bare
from bench.realtime.roles import an_event
from bench.roles import commands, say, say_until_closed
from chassis.broker import connect
from chassis.broker.event_log import START
from chassis.broker.port import Broker, Event, Topology
from chassis.broker.retention import Retention
from services.reports import bootstrap

# No queues: what is measured is the log.
TOPOLOGY = Topology("bench.events", "event-log", {})
# Nothing is pruned while it is measured.
RETENTION = Retention(events=10_000_000)
ORDERS = 1_000
# Seconds: short, so that copies of reports soon have their shares.
LEASE = 2.0


class Ours:
    """An adapter of the event log port."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @classmethod
    async def open(cls, url: str, folder: str) -> Ours:
        kafka = url.startswith("kafka:")
        broker_url = f"embedded:{folder}/queues.sqlite" if kafka else url
        return cls(await connect(broker_url, TOPOLOGY, retention=RETENTION, log_url=url if kafka else ""))

    async def append(self, events: Sequence[Event]) -> None:
        await self._broker.log.append(events)

    @asynccontextmanager
    async def reading(self, deliver: Deliver, *, live: bool) -> AsyncIterator[Take]:
        async with self._broker.log.tail(None if live else START) as entries:

            async def take(count: int) -> None:
                async for entry in entries:
                    await deliver(entry.event, entry.partition, entry.offset)
                    count -= 1
                    if not count:
                        return

            yield take

    async def close(self) -> None:
        await self._broker.close()


def events(first: int, count: int) -> list[Event]:
    """Events of customer 123 about so many orders that every partition has some."""
    return [an_event(number, subject=f"order-{number % ORDERS:04}") for number in range(first, first + count)]


def sales(first: int, count: int) -> list[Event]:
    """Two events of each of so many orders: what was ordered, and that it was paid."""
    made = []
    for number in range(first, first + count):
        order_id = f"sold-{number:08}"
        line = {"product_id": "42", "name": "Keyboard", "quantity": 1, "unit_price": "89.00"}
        whole = {"order_id": order_id, "user_id": "123", "items": [line], "total": "89.00", "currency": "EUR"}
        placed = replace(
            an_event(number, order_id), id=f"placed-{number}", type="order.placed", data=orjson.dumps(whole)
        )
        made += [placed, an_event(number, order_id)]
    return made


async def reports(url: str, folder: str, database_url: str) -> None:
    """A copy of reports, until stdin ends."""
    kafka = url.startswith("kafka:")
    settings = bootstrap.Settings(
        data_dir=Path(folder),
        broker_url=f"embedded:{folder}/queues.sqlite" if kafka else url,
        event_log_url=url if kafka else "",
        database_url=database_url,
        reports_port=0,
        reports_lease=LEASE,
        otlp_url="",
        log_level="error",
    )
    async with bootstrap.run(settings):
        await say_until_closed("ready")


async def log(side: str, url: str, folder: str) -> None:
    """Append and read as the lines on stdin command."""
    opened: Log = bare(url) if side == "bare" else await Ours.open(url, folder)
    number = 1
    try:
        await opened.append(events(0, 1))  # creates what is missing
        say("ready")
        async for command, *numbers in commands():
            count = int(numbers[0])
            if command in ("append", "sell"):
                made = events(number, count) if command == "append" else sales(number, count)
                number += count
                say(*await _append(opened, made, int(numbers[1])))
            else:
                await _read(opened, count, live=command == "tail")
            # Between two measurements, and not within one.
            gc.collect()
    finally:
        await opened.close()


async def _append(opened: Log, made: Sequence[Event], batch: int) -> tuple[float, float]:
    began = time.monotonic()
    for start in range(0, len(made), batch):
        await opened.append(made[start : start + batch])
    return began, time.monotonic()


async def _read(opened: Log, count: int, *, live: bool) -> None:
    began = time.monotonic()
    read: dict[int, int] = {}

    async def deliver(event: Event, partition: int, number: int) -> None:
        assert event.subject
        read[partition] = number

    async with opened.reading(deliver, live=live) as take:
        if live:
            say("attached")
        await take(count)
        say(began, time.monotonic())


async def client(token: str, ports: Sequence[str]) -> None:
    """One WebSocket to each notifier."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        sockets = []
        for port in ports:
            url = f"ws://127.0.0.1:{port}/notifications?token={token}"
            socket = await stack.enter_async_context(session.ws_connect(url))
            await socket.send_json({"action": "subscribe", "topics": ["order.*"]})
            assert (await socket.receive_json())["type"] == "subscribed"
            sockets.append(socket)
        say("subscribed")
        async for _, count in commands():
            say(*await asyncio.gather(*(_taken(socket, int(count)) for socket in sockets)))


async def _taken(socket: aiohttp.ClientWebSocketResponse, count: int) -> float:
    for _ in range(count):
        message = await socket.receive()
        assert message.type is aiohttp.WSMsgType.TEXT, message
    return time.monotonic()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["log", side, url, folder]:
            uvloop.run(log(side, url, folder))
        case ["reports", url, folder, database_url]:
            uvloop.run(reports(url, folder, database_url))
        case ["client", token, *ports]:
            uvloop.run(client(token, ports))
        case _:
            sys.exit("log ours|bare URL FOLDER | reports URL FOLDER DATABASE | client TOKEN PORT…")

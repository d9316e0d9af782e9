"""The hub, without sockets: one span per event, and what it does when the log has moved on without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import websockets.frames
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from websockets.streams import StreamReader

from chassis.auth.identity import Principal
from chassis.background import background
from chassis.broker.event_log import LogEntry, Position, PositionExpired
from chassis.broker.port import BrokerUnavailable, Event
from chassis.observability.tracing import SpanKind, Telemetry
from services.notifier.delivery.hub import Hub
from services.notifier.delivery.subscription_index import SubscriptionIndex
from services.notifier.delivery.write_batch import WriteBatch
from services.notifier.frames import Frame, Notice, WireProtocol
from services.notifier.metrics import Metrics
from tests.notifier.conftest import an_event
from tests.waiting import eventually


def payloads(encoded: bytes) -> list[bytes]:
    """The payloads of WebSocket frames."""
    reader = StreamReader()
    reader.feed_data(encoded)
    found: list[bytes] = []
    while reader.buffer:
        try:
            next(websockets.frames.Frame.parse(reader.read_exact, mask=False))
        except StopIteration as parsed:
            found.append(bytes(parsed.value.data))
    return found


class FakeConnection:
    """Remembers what goes to a client."""

    protocol: WireProtocol = "WebSocket"
    behind = False
    closing = 0

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []

    def send(self, frame: Frame) -> bool:
        self.received += map(json.loads, payloads(frame.websocket))
        return True

    async def ready(self) -> None:
        """Never behind."""

    def stalled_for(self) -> float:
        return 0.0

    def close(self, code: int, reason: str) -> None:
        self.received.append({"closed": code})

    def types(self) -> list[str]:
        return [frame["type"] for frame in self.received]


class FakeReader:
    """Reads a fake broker's log."""

    trouble = ""

    def __init__(self, entries: AsyncIterator[LogEntry]) -> None:
        self._entries = entries

    def __aiter__(self) -> FakeReader:
        return self

    async def __anext__(self) -> LogEntry:
        return await anext(self._entries)


class FakeBroker:
    """A log in memory, which can forget and be away."""

    system = "embedded"

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.first = 1
        self.away = False
        self._news = asyncio.Event()

    def append(self, *events: Event) -> None:
        for event in events:
            self.entries.append(LogEntry(Position.at(len(self.entries) + 1), event))
        self._wake()

    def forget_and_break(self, first: int) -> None:
        """Lose what is before `first`, and every reader."""
        self.first = first
        self.away = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def last_position(self) -> Position:
        if self.away:
            raise BrokerUnavailable("away")
        return Position.at(len(self.entries))

    @asynccontextmanager
    async def tail(self, after: Position, *, upto: Position | None = None) -> AsyncIterator[FakeReader]:
        del upto  # the hub reads on
        if self.away:
            raise BrokerUnavailable("away")
        if after.offset(0) + 1 < self.first:
            raise PositionExpired(str(after))
        yield FakeReader(self._read(after.offset(0)))

    async def _read(self, after: int) -> AsyncIterator[LogEntry]:
        while True:
            if self.away:
                raise BrokerUnavailable("away")
            for entry in self.entries[after:]:
                after = entry.offset
                yield entry
            await self._news.wait()


class KeepingExporter(SpanExporter):
    """Fake: keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


def customer(subject: str = "123") -> Principal:
    return Principal(subject, "customer", "token", float("inf"))


@asynccontextmanager
async def running(broker: Any, telemetry: Telemetry | None = None) -> AsyncIterator[Hub]:
    hub = Hub(broker, telemetry or Telemetry("notifier"), Metrics(), send_timeout=10)
    async with background(hub.follow(), hub.sweep()):
        yield hub


async def test_one_span_for_an_event_however_many_receive_it() -> None:
    """An event with receivers makes one producer span, in the event's trace; one without makes none."""
    exporter = KeepingExporter()
    telemetry = Telemetry("notifier", exporter)
    broker = FakeBroker()
    connections = [FakeConnection() for _ in range(3)]
    async with running(broker, telemetry) as hub:
        await hub.position()
        with (
            hub.connected(customer(), connections[0]) as one,
            hub.connected(customer(), connections[1]) as two,
            hub.connected(customer("456"), connections[2]) as stranger,
        ):
            for session in (one, two, stranger):
                await session.subscribe(["order.*"], None)
            paid = an_event("order.paid")
            broker.append(an_event("stock.changed"), paid)
            await eventually(lambda: connections[1].types() == ["subscribed", "order.paid"])
    telemetry.close()
    (span,) = exporter.spans
    assert (span.name, span.kind) == ("notify order.paid", SpanKind.PRODUCER)
    assert span.attributes is not None
    assert span.attributes["shop.protocol"] == "WebSocket"
    assert span.attributes["shop.peer"] == "client"
    assert span.attributes["shop.deliveries"] == 2
    payload = json.dumps(connections[0].received[-1], separators=(",", ":"))
    assert span.attributes["shop.bytes.sent"] == 2 * len(Frame(payload.encode()).websocket)
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == paid.extensions["traceparent"].split("-")[1]


async def test_copy_that_was_away_too_long_tells_its_clients(tmp_path: Path) -> None:
    """A copy that retention has passed says resync to its clients, and goes on with what is there."""
    broker = FakeBroker()
    connection = FakeConnection()
    async with running(broker) as hub:
        await hub.position()
        with hub.connected(customer(), connection) as session:
            await session.subscribe(["order.*"], None)
            broker.append(an_event("order.placed"))
            await eventually(lambda: "order.placed" in connection.types())
            broker.forget_and_break(first=4)
            await eventually(lambda: hub.trouble)
            broker.append(an_event("order.confirmed"), an_event("order.paid"), an_event("order.cancelled"))
            broker.away = False
            await eventually(lambda: "resync" in connection.types())
            await eventually(lambda: not hub.trouble)
            broker.append(an_event("order.shipped"))
            await eventually(lambda: "order.shipped" in connection.types())
    assert connection.types() == ["subscribed", "order.placed", "resync", "subscribed", "order.shipped"]


async def test_short_absence_of_the_broker_loses_nothing() -> None:
    """While the broker is away copies are not ready; once it is back they go on where they were."""
    broker = FakeBroker()
    connection = FakeConnection()
    async with running(broker) as hub:
        await hub.position()
        with hub.connected(customer(), connection) as session:
            await session.subscribe(["order.*"], None)
            broker.forget_and_break(first=1)
            await eventually(lambda: hub.trouble)
            broker.append(an_event("order.placed"), an_event("order.paid"))
            broker.away = False
            await eventually(lambda: "order.paid" in connection.types())
    assert connection.types() == ["subscribed", "order.placed", "order.paid"]


async def test_copy_starts_without_the_broker() -> None:
    """A copy that finds no broker takes clients, and serves them once the broker is there."""
    broker = FakeBroker()
    broker.append(an_event("order.placed"))
    broker.away = True
    connection = FakeConnection()
    async with running(broker) as hub:
        with hub.connected(customer(), connection) as session:
            arriving = asyncio.create_task(hub.position())
            assert hub.trouble
            broker.away = False
            assert await arriving == Position.at(1)
            await session.subscribe(["order.*"], None)
            assert connection.received[0]["position"] == "1"


async def test_event_that_is_not_json_stops_no_other() -> None:
    """An event whose data cannot be read is shown without data, and the next one comes."""
    broker = FakeBroker()
    connection = FakeConnection()
    async with running(broker) as hub:
        await hub.position()
        with hub.connected(customer(), connection) as session:
            await session.subscribe(["#"], None)
            good = an_event("order.paid")
            broken = Event("e1", "order.odd", "/x", "o1", good.time, b"\xff{", dict(good.extensions))
            broker.append(broken, good)
            await eventually(lambda: "order.paid" in connection.types())
    assert connection.received[1]["data"] is None


async def test_batch_goes_out_together_in_bounded_pieces() -> None:
    """Events that are there at once are written in few pieces, each of about 4 KiB at most or of one event."""
    broker = FakeBroker()
    connection = ConnectionOfPieces()
    sizes = [100] * 50 + [9_000, 9_000] + [100] * 50
    async with running(broker) as hub:
        await hub.position()
        with hub.connected(customer(), connection) as session:
            await session.subscribe(["#"], None)
            broker.append(*[an_event(filler="x" * size) for size in sizes])
            await eventually(lambda: len(connection.received) == 1 + len(sizes))
    assert [len(frame["data"]["filler"]) for frame in connection.received[1:]] == sizes
    pieces = connection.pieces[1:]  # the first is the answer to the subscription
    assert len(pieces) < 20
    assert all(size < 5_000 or count == 1 for size, count in pieces)


async def test_event_on_its_way_goes_to_those_who_were_subscribed_when_it_came() -> None:
    """Whoever leaves or subscribes in the same turn of the event loop does not change that."""
    batch = WriteBatch(Telemetry("test"), Metrics())
    index = SubscriptionIndex(before_change=batch.deliver)
    leaves, stays, comes = FakeConnection(), FakeConnection(), FakeConnection()
    event = an_event("order.paid")
    for connection in (leaves, stays):
        index.join("customer:123", ("#",), connection)
    batch.add(Notice(LogEntry(Position.at(1), event)), [*index.of(event)])
    index.leave("customer:123", ("#",), leaves)
    index.join("customer:123", ("#",), comes)
    await asyncio.sleep(0)
    assert (leaves.types(), stays.types(), comes.types()) == (["order.paid"], ["order.paid"], [])


class ConnectionOfPieces(FakeConnection):
    """Knows the size of each write, and how many frames it had."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[tuple[int, int]] = []

    def send(self, frame: Frame) -> bool:
        self.pieces.append((len(frame.websocket), len(payloads(frame.websocket))))
        return super().send(frame)


async def test_events_that_nobody_receives_leave_everything_else_its_turns() -> None:
    """However many lie in front of a copy, the event loop goes round after every 64 of them."""
    broker = FakeBroker()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with running(broker) as hub:
        await hub.position()
        async with background(count()):
            begun = turns
            broker.append(*[an_event("order.paid") for _ in range(6_400)])
            while (await hub.position()).offset(0) < 6_400:  # noqa: ASYNC110 - the loop's turns are what is counted
                await asyncio.sleep(0)
            assert turns - begun >= 100


async def test_event_that_is_nested_too_deeply_stops_no_other() -> None:
    """An event whose data could be read, but not written again, is shown without data."""
    good = an_event("order.paid")
    deep = Event("e1", "order.odd", "/x", "o1", good.time, b"[" * 300 + b"]" * 300, dict(good.extensions))
    assert json.loads(Notice(LogEntry(Position.at(1), deep)).frame.payload)["data"] is None

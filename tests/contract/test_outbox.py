"""The outbox's promises: a committed event is published, at least once and in order; any other one never is."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chassis.background import background
from chassis.broker import connect
from chassis.broker.event_log import START, EventLog
from chassis.broker.forwarding import TracedBroker
from chassis.broker.inbox import Inbox
from chassis.broker.outbox import Outbox
from chassis.broker.port import Broker, BrokerUnavailable, Event
from chassis.broker.separate_log import BrokerWithLog
from chassis.database.database import Database
from chassis.observability.tracing import SpanKind, Telemetry, current_trace_id
from services.catalog.sql_store import inbox, outbox
from tests import kafka
from tests.contract.databases import opened, url_of
from tests.contract.events import TOPOLOGY, an_event
from tests.waiting import eventually

REPOSITORY = Path(__file__).parents[2]


class RecordingBroker:
    """Fake: remembers what was published, but for `unreachable` subjects; `stuck` keeps it from confirming."""

    system = "embedded"
    log = None

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.unreachable: set[str] = set()
        self.stuck = False

    async def publish(self, events: Sequence[Event]) -> None:
        if any(event.subject in self.unreachable for event in events):
            raise BrokerUnavailable("away")
        self.published += events
        if self.stuck:
            await asyncio.Event().wait()

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.published]


@pytest.fixture
def url(database_url: str, tmp_path: Path) -> str:
    return url_of("catalog", database_url, tmp_path)


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with opened("catalog", url) as found:
        yield found


@pytest.fixture
def broker() -> RecordingBroker:
    return RecordingBroker()


def outbox_of(db: Database, broker: RecordingBroker | Broker, **options: Any) -> Outbox:
    options.setdefault("telemetry", Telemetry("test"))
    return Outbox(outbox, db, cast("Broker", broker), **options)


async def commit(db: Database, out: Outbox, *events: Event) -> None:
    await db.write(lambda connection: out.add(connection, *events))


async def pending(db: Database) -> list[str]:
    """The ids of the events that are not marked as published."""
    async with db.reading() as connection:
        return list(await connection.scalars(select(outbox.c.event_id).where(outbox.c.published_at.is_(None))))


async def all_marked(db: Database) -> None:
    async def none_left() -> bool:
        return await pending(db) == []

    await eventually(none_left)


class TestPublishing:
    async def test_committed_event_reaches_the_broker(self, db: Database, broker_url: str) -> None:
        """What was committed with an effect comes out of each broker's log, envelope and all."""
        real = await connect(broker_url, TOPOLOGY)
        out = outbox_of(db, real)
        event = an_event()
        try:
            async with background(out.relay()), asyncio.timeout(30):
                await commit(db, out, event)
                async with real.log.tail(START) as entries:
                    found = (await anext(entries)).event
        finally:
            await real.close()
        assert (found.id, found.type, found.source, found.subject) == (
            event.id,
            event.type,
            event.source,
            event.subject,
        )
        assert (found.time, found.data) == (event.time, event.data)

    async def test_rolled_back_event_is_never_published(self, db: Database, broker: RecordingBroker) -> None:
        """An event of a transaction that failed is not published; nor is one published before its commit."""
        out = outbox_of(db, broker)
        undone, kept = an_event(), an_event()
        async with background(out.relay()):
            with pytest.raises(RuntimeError):
                async with db.transaction() as connection:
                    await connection.run_sync(out.add, undone)
                    raise RuntimeError
            async with db.transaction() as connection:
                await connection.run_sync(out.add, kept)
                assert broker.published == []
            await all_marked(db)
        assert broker.ids == [kept.id]

    async def test_marked_event_is_published_once(self, db: Database, broker: RecordingBroker) -> None:
        """A relay that starts again publishes nothing that was marked."""
        out = outbox_of(db, broker)
        first, second = an_event(), an_event()
        for event in (first, second):
            async with background(out.relay()):
                await commit(db, out, event)
                await all_marked(db)
        assert broker.ids == [first.id, second.id]

    async def test_another_processs_event_is_found(self, url: str, db: Database, broker: RecordingBroker) -> None:
        """What another process has committed and not published, because it died, is published within a moment."""
        async with opened("catalog", url) as other:
            await commit(other, outbox_of(other, RecordingBroker()), event := an_event())
        async with background(outbox_of(db, broker).relay()):
            await all_marked(db)
        assert broker.ids == [event.id]

    async def test_more_than_a_batch_goes_out_in_order(self, db: Database, broker: RecordingBroker) -> None:
        """A backlog of several batches goes out, whole and in its subject's order."""
        out = outbox_of(db, broker)
        events = [an_event(subject="one") for _ in range(450)]
        await commit(db, out, *events)
        async with background(out.relay()):
            await all_marked(db)
        assert broker.ids == [event.id for event in events]


class TestFailures:
    async def test_relay_that_dies_before_marking_publishes_again(self, db: Database, broker: RecordingBroker) -> None:
        """Between publishing and marking, death means twice, never not at all; the inbox makes that once."""
        out = outbox_of(db, broker)
        event = an_event()
        await commit(db, out, event)
        broker.stuck = True
        async with background(out.relay()):
            await eventually(lambda: broker.published)
        assert await pending(db) == [event.id]
        broker.stuck = False
        async with background(outbox_of(db, broker).relay()):
            await all_marked(db)
        assert broker.ids == [event.id, event.id]
        handled = Inbox(inbox)
        times = await db.write(
            lambda connection: [handled.first_time(connection, "mail", delivered) for delivered in broker.ids]
        )
        assert times == [True, False]

    async def test_killed_relays_work_is_taken_over(self, url: str, db: Database, tmp_path: Path) -> None:
        """A process that is killed while it publishes is followed by the one that waited for its turn."""
        broker_url = f"embedded:{tmp_path / 'broker.sqlite'}"
        real = await connect(broker_url, TOPOLOGY)
        await commit(db, outbox_of(db, real), event := an_event())
        async with relaying(url, broker_url, "hang") as hanging:
            assert await said(hanging) == ["relaying", "hanging"]
            async with background(outbox_of(db, real).relay()), asyncio.timeout(30), real.log.tail(START) as entries:
                hanging.kill()
                assert (await anext(entries)).event.id == event.id
        await real.close()

    async def test_events_wait_for_the_broker(self, db: Database, broker: RecordingBroker) -> None:
        """While the broker is away state still changes; the events go out, in order, once it is back."""
        broker.unreachable = {"one"}
        out = outbox_of(db, broker)
        events = [an_event(subject="one") for _ in range(3)]
        async with background(out.relay()):
            for event in events:
                await commit(db, out, event)
            assert await pending(db) == [event.id for event in events]
            broker.unreachable = set()
            await all_marked(db)
        assert broker.ids == [event.id for event in events]

    @pytest.mark.parametrize("turns", range(5))
    async def test_relay_stops_when_told_to(self, db: Database, broker: RecordingBroker, turns: int) -> None:
        """A relay that is cancelled in the very moment in which it gets something to do stops all the same."""
        out = outbox_of(db, broker)
        relay = asyncio.create_task(out.relay())
        await commit(db, out, an_event())
        await all_marked(db)
        await eventually(lambda: out._pending._waiters)
        out._pending.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        relay.cancel()
        done, _ = await asyncio.wait([relay], timeout=20)
        assert relay in done

    async def test_one_subjects_trouble_is_its_own(self, db: Database, broker: RecordingBroker) -> None:
        """An event that cannot be published holds back those after it about the same subject, and no others."""
        broker.unreachable = {"bad"}
        out = outbox_of(db, broker)
        bad, good = [an_event(subject="bad") for _ in range(2)], an_event(subject="good")
        await commit(db, out, *bad, good)
        async with background(out.relay()):
            await eventually(lambda: broker.ids == [good.id])
            broker.unreachable = set()
            await all_marked(db)
        assert broker.ids == [event.id for event in (good, *bad)]

    async def test_relay_outlives_a_database_that_is_busy(
        self, db: Database, broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A relay that gets no connection waits and tries again; it does not take its process down."""
        out = outbox_of(db, broker)
        await commit(db, out, event := an_event())
        lock = db.lock
        busy = iter([PoolTimeout("no connection left"), OSError("refused")])

        @asynccontextmanager
        async def sometimes(name: str) -> AsyncIterator[None]:
            for trouble in busy:
                raise trouble
            async with lock(name):
                yield

        monkeypatch.setattr(db, "lock", sometimes)
        monkeypatch.setattr("chassis.broker.outbox._MAX_PAUSE", 0.01)
        async with background(out.relay()):
            await all_marked(db)
        assert broker.ids == [event.id]


class TestTwoRelays:
    async def test_order_within_a_subject_is_kept(self, url: str, db: Database, broker: RecordingBroker) -> None:
        """Two processes that write and relay on one database publish everything once and in each subject's order."""
        expected: defaultdict[str, list[str]] = defaultdict(list)
        async with opened("catalog", url) as second:
            outs = [(each, outbox_of(each, broker)) for each in (db, second)]

            async def write(subject: str) -> None:
                for number in range(10):
                    await commit(*outs[number % 2], event := an_event(subject=subject))
                    expected[subject].append(event.id)

            async with background(*(out.relay() for _, out in outs)):
                await asyncio.gather(*(write(f"s{number}") for number in range(10)))
                await all_marked(db)
        found: defaultdict[str, list[str]] = defaultdict(list)
        for event in broker.published:
            found[event.subject].append(event.id)
        assert found == expected

    async def test_two_real_processes_share_the_work(self, url: str, db: Database, tmp_path: Path) -> None:
        """Two processes that relay for a third publish each event once, each subject's in order."""
        broker_url = f"embedded:{tmp_path / 'broker.sqlite'}"
        real = await connect(broker_url, TOPOLOGY)
        events = [an_event(subject=f"s{number % 7}") for number in range(100)]
        async with relaying(url, broker_url, "relay") as one, relaying(url, broker_url, "relay") as two:
            assert await said(one, 1) + await said(two, 1) == ["relaying", "relaying"]
            for begin in range(0, len(events), 5):
                await commit(db, outbox_of(db, real), *events[begin : begin + 5])
            await all_marked(db)
        found: list[Event] = []
        async with asyncio.timeout(30), real.log.tail(START) as entries:
            while len(found) < len(events):
                found.append((await anext(entries)).event)
        await real.close()
        for subject in {event.subject for event in events}:
            ids = [[event.id for event in these if event.subject == subject] for these in (found, events)]
            assert ids[0] == ids[1]


@pytest.mark.kafka
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seen", [1, 150, 390])
async def test_relay_killed_between_queues_and_log(url: str, db: Database, tmp_path: Path, seen: int) -> None:
    """Wherever a relay is killed, neither the queues nor a log of another system misses an event.

    Those who drop repeats have each event once, each subject's in order.
    """
    broker_url = f"embedded:{tmp_path / 'broker.sqlite'}"
    events = [an_event("order.placed", subject=f"s{number % 7}") for number in range(400)]
    async with kafka.own_topic("tansu") as topic:
        both = await connect(broker_url, TOPOLOGY, log_url=topic.url)
        try:
            await commit(db, outbox_of(db, both), *events)
            async with (
                asyncio.timeout(60),
                both.log.tail(START) as entries,
                relaying(url, broker_url, "relay", topic.url) as relay,
            ):
                for _ in range(seen):
                    await anext(entries)
                relay.kill()
                await relay.wait()
            async with background(outbox_of(db, both).relay()):
                await all_marked(db)
            logged, queued = await everything_logged(both), await everything_queued(both, len(events))
        finally:
            await both.close()
    for found in (logged, queued):
        assert found.keys() == {event.id for event in events}
        for subject in {event.subject for event in events}:
            ids = [[event.id for event in these if event.subject == subject] for these in (found.values(), events)]
            assert ids[0] == ids[1]


async def everything_logged(broker: Broker) -> dict[str, Event]:
    """What the log has, without repeats."""
    found: dict[str, Event] = {}
    async with broker.log.tail(START, upto=await broker.log.last_position()) as entries, asyncio.timeout(30):
        async for entry in entries:
            found.setdefault(entry.event.id, entry.event)
    return found


async def everything_queued(broker: Broker, count: int) -> dict[str, Event]:
    """What the queue has, without repeats, once it is so many."""
    found: dict[str, Event] = {}
    async with broker.deliveries("processing", prefetch=1_000) as deliveries, asyncio.timeout(30):
        while len(found) < count:
            delivery = await anext(deliveries)
            found.setdefault(delivery.event.id, delivery.event)
    return found


class LogThatIsAway:
    """Stub: a log of another system that takes nothing until it is `there`."""

    def __init__(self) -> None:
        self.there = False
        self.appended: list[str] = []

    async def append(self, events: Sequence[Event]) -> None:
        if not self.there:
            raise BrokerUnavailable("refused")
        self.appended += [event.id for event in events]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_log_that_is_away_leaves_no_copies_in_the_queues(db: Database, tmp_path: Path) -> None:
    """However often the relay tries while a log of another system is away, the work queues have each event once."""
    log = LogThatIsAway()
    queues = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", TOPOLOGY)
    both = BrokerWithLog(queues, cast("EventLog", log))
    try:
        out = outbox_of(db, both)
        events = [an_event(subject=f"s{number % 3}") for number in range(5)]
        await commit(db, out, *events)
        for _ in range(10):
            with pytest.raises(BrokerUnavailable):
                await out._relay_batch()
        assert await ready(both, "processing") == 5
        log.there = True
        await out._relay_batch()
        assert await pending(db) == []
        assert await ready(both, "processing") == 5
        assert log.appended == [event.id for event in events]
    finally:
        await both.close()


async def ready(broker: Broker, queue: str) -> int:
    return {depth.queue: depth.ready for depth in await broker.depths()}[queue]


class TestTracing:
    async def test_trace_goes_with_the_event(self, db: Database, broker: RecordingBroker) -> None:
        """An event belongs to the trace of the request that caused it, published though it is much later."""
        exporter = InMemorySpanExporter()
        spans = Telemetry("test", exporter)
        out = outbox_of(db, TracedBroker(cast("Broker", broker), spans))
        with spans.span("POST /v1/orders", SpanKind.SERVER, protocol="REST"):
            trace_id = current_trace_id()
            event = an_event()
            await commit(db, out, Event(event.id, event.type, event.source, event.subject, event.time, event.data))
        async with background(out.relay()):
            await all_marked(db)
        spans.close()
        _, carried, parent, _ = broker.published[0].extensions["traceparent"].split("-")
        assert carried == trace_id
        publish = next(span for span in exporter.get_finished_spans() if span.kind is SpanKind.PRODUCER)
        assert f"{publish.context.span_id:016x}" == parent

    async def test_each_event_of_a_batch_has_its_own_trace(self, db: Database, broker_url: str) -> None:
        """A broker that is connected with telemetry opens a span for each event, in the trace of its request."""
        exporter = InMemorySpanExporter()
        spans = Telemetry("test", exporter)
        real = await connect(broker_url, TOPOLOGY, telemetry=spans)
        out = outbox_of(db, real)
        events = [replace(an_event(), extensions={}) for _ in range(5)]
        traces: dict[str, str] = {}
        try:
            for event in events:
                with spans.span("POST /v1/orders", SpanKind.SERVER, protocol="REST"):
                    traces[event.id] = current_trace_id()
                    await commit(db, out, event)
            async with background(out.relay()):
                await all_marked(db)
            published = await everything_logged(real)
        finally:
            await real.close()
        spans.close()
        carried = {event.id: event.extensions["traceparent"].split("-") for event in published.values()}
        assert {event_id: parts[1] for event_id, parts in carried.items()} == traces
        producers = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.PRODUCER]
        assert sorted(f"{span.context.span_id:016x}" for span in producers) == sorted(
            parent for _, _, parent, _ in carried.values()
        )

    async def test_extensions_go_with_the_event(self, db: Database, broker: RecordingBroker) -> None:
        """Whom it concerns and which number it has within its subject come out as they went in."""
        out = outbox_of(db, broker)
        extensions = {"userid": "u1", "sequence": "3"}
        await commit(db, out, Event("e", "order.paid", "/orders", "o", datetime.now(UTC), b"{}", extensions))
        async with background(out.relay()):
            await all_marked(db)
        assert extensions.items() <= broker.published[0].extensions.items()


class TestForgetting:
    @pytest.mark.parametrize(("keep", "left"), [(timedelta(hours=1), {"fresh"}), (None, {"old", "fresh"})])
    async def test_published_events_are_forgotten_after_a_while(
        self, db: Database, broker: RecordingBroker, keep: timedelta | None, left: set[str]
    ) -> None:
        """What was published longer ago than is kept is removed; what is kept for ever, is."""
        await commit(db, outbox_of(db, broker), an_event(subject="old"))
        async with db.transaction() as connection:
            await connection.execute(update(outbox).values(published_at=datetime.now(UTC) - timedelta(hours=2)))
        out = outbox_of(db, broker, keep=keep)
        await commit(db, out, an_event(subject="fresh"))

        async def remaining() -> bool:
            async with db.reading() as connection:
                return set(await connection.scalars(select(outbox.c.subject))) == left

        async with background(out.relay()):
            await all_marked(db)
            await eventually(remaining)

    async def test_no_transaction_deletes_many(
        self, db: Database, broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More events than a batch holds are all forgotten, over several transactions."""
        out = outbox_of(db, broker, keep=timedelta(hours=1))
        await commit(db, out, *(an_event(subject=f"old-{number}") for number in range(450)))
        async with db.transaction() as connection:
            await connection.execute(update(outbox).values(published_at=datetime.now(UTC) - timedelta(hours=2)))
        counts: list[int] = []
        write = Database.write

        async def counting(database: Database, work: Any) -> Any:
            result = await write(database, work)
            counts.append(result)
            return result

        monkeypatch.setattr(type(db), "write", counting)
        await out._prune()
        async with db.reading() as connection:
            assert list(await connection.scalars(select(outbox.c.subject))) == []
        assert sum(counts) == 450
        assert max(counts) <= 200

    async def test_goes_on_behind_events_that_are_not_published(self, db: Database, broker: RecordingBroker) -> None:
        """However many of the oldest events cannot be published, what was published after them is forgotten."""
        out = outbox_of(db, broker, keep=timedelta(hours=1))
        await commit(db, out, *(an_event(subject="stuck") for _ in range(450)))
        await commit(db, out, *(an_event(subject="old") for _ in range(10)))
        old = outbox.c.subject == "old"
        async with db.transaction() as connection:
            long_ago = datetime.now(UTC) - timedelta(hours=2)
            await connection.execute(update(outbox).where(old).values(published_at=long_ago))
        await out._prune()
        async with db.reading() as connection:
            assert set(await connection.scalars(select(outbox.c.subject))) == {"stuck"}
        assert len(await pending(db)) == 450

    async def test_looks_no_further_than_what_is_to_stay(
        self, db: Database, broker: RecordingBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Among events that are all recent, only the oldest ones are looked at, however many there are."""
        out = outbox_of(db, broker, keep=timedelta(hours=1))
        await commit(db, out, *(an_event() for _ in range(1_000)))
        async with db.transaction() as connection:
            await connection.execute(update(outbox).values(published_at=datetime.now(UTC)))
        looked: list[int] = []
        read = Outbox._read_page

        async def counting(self: Outbox, after: int) -> Sequence[Any]:
            rows = await read(self, after)
            looked.append(len(rows))
            return rows

        monkeypatch.setattr(Outbox, "_read_page", counting)
        await out._prune()
        assert looked == [200]

    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    async def test_each_statement_reads_by_the_key(self, db: Database, broker: RecordingBroker) -> None:
        """None reads the whole table: SQLite is locked for writing meanwhile, and the process does nothing else."""
        out = outbox_of(db, broker)
        for statement in (out._select_page, out._delete_expired):
            query = statement.compile(dialect=sqlite.dialect(paramstyle="named"))
            async with db.reading() as connection:
                plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", dict.fromkeys(query.params, 0))
                steps = [row.detail for row in plan]
            assert steps
            assert not [step for step in steps if not step.startswith("SEARCH outbox USING INTEGER PRIMARY KEY")]

    async def test_unpublished_events_are_never_forgotten(self, db: Database, broker: RecordingBroker) -> None:
        """However old it is, an event that could not be published yet stays."""
        long_ago = datetime.now(UTC) - timedelta(days=365)
        out = outbox_of(db, broker, keep=timedelta(0))
        await commit(db, out, Event("e", "order.paid", "/orders", "o", long_ago, b"{}"))
        await out._prune()
        assert await pending(db) == ["e"]


@asynccontextmanager
async def relaying(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`tests.contract.relay_process`, killed on leaving if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.relay_process", *arguments,
        stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, count: int = 2) -> list[str]:
    """The next lines that a process prints."""
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return [(await process.stdout.readline()).decode().strip() for _ in range(count)]

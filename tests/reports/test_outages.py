"""Whatever fails for however long: once it is back, each partition has one live copy, and each event counts once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection, func, select, text

from chassis.background import background
from chassis.broker import connect
from chassis.broker.event_log import EventLog, LogReader, Position
from chassis.broker.groups.consumer_group import Batch, ConsumerGroup
from chassis.database.database import Database
from chassis.errors import StoreUnavailable
from services.reports.consumer import SalesConsumer
from services.reports.sql_store import tables
from services.reports.sql_store.generations import Generations
from services.reports.sql_store.sales import SqlSalesStore
from tests import kafka
from tests.contract.databases import opened, unrelayed, url_of
from tests.reports.conftest import SHOP_TOPOLOGY
from tests.reports.orders import lives, several
from tests.reports.test_races import ON_POSTGRESQL
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(180)
LEASE = timedelta(seconds=1)
PLACES = ["begin", "statement", "commit"]


class FailingDatabase:
    """Fake: a copy's connections to its database, which fail in one place while `fails_in` names it."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.fails_in = ""
        self.failed = 0

    async def read(self, work: Callable[[Connection], Any]) -> Any:
        self._fail_in("begin")
        return await self._db.read(work)

    async def write(self, work: Callable[[Connection], Any], **options: bool) -> Any:
        self._fail_in("begin")

        def working(connection: Connection) -> Any:
            found = work(connection)
            self._fail_in("statement")
            return found

        found = await self._db.write(working, **options)
        self._fail_in("commit")  # it has happened, and its answer is lost
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def _fail_in(self, place: str) -> None:
        if self.fails_in == place:
            self.failed += 1
            raise StoreUnavailable


class Copy:
    """A copy of reports in this process: what it does for its leases, and for its effects, may fail apart."""

    def __init__(self, db: Database, log: EventLog) -> None:
        self.leases, self.effects = FailingDatabase(db), FailingDatabase(db)
        leases, effects = cast("Database", self.leases), cast("Database", self.effects)
        self.group = ConsumerGroup(tables.group, leases, log, lease=LEASE)
        self._generations = Generations(leases, log, self.group.changed)
        store = SqlSalesStore(effects, self.group, self._generations, unrelayed(tables.outbox, db))
        self._consumer = SalesConsumer(store)

    async def follow(self) -> None:
        await self.group.follow(self._generations.groups, self._consumer.handle)

    def outage(self, of: str, place: str) -> FailingDatabase:
        failing: FailingDatabase = getattr(self, of)
        failing.fails_in, failing.failed = place, 0
        return failing


@asynccontextmanager
async def shop(kind: str, database_url: str, folder: Path) -> AsyncIterator[tuple[Database, EventLog]]:
    """The database of reports, and an event log of a kind, which holds nothing."""
    url = f"embedded:{folder / 'broker.sqlite'}"
    async with opened("reports", url_of("reports", database_url, folder)) as db:
        if kind == "embedded":
            broker = await connect(url, SHOP_TOPOLOGY)
            try:
                yield db, broker.log
            finally:
                await broker.close()
            return
        async with kafka.own_topic(kind) as topic:
            broker = await connect(url, SHOP_TOPOLOGY, log_url=topic.url)
            try:
                yield db, broker.log
            finally:
                await broker.close()


async def owners(db: Database) -> Mapping[str, int]:
    """The number of partitions of each copy; "" for those that nobody has."""
    columns = tables.group[0].c
    return Counter(await db.read(lambda connection: connection.execute(select(columns.owner)).scalars().all()))


async def shared(db: Database, *copies: Copy) -> bool:
    """Whether these copies have all partitions, as many each as they can."""
    found = await owners(db)
    of_each = [found[copy.group.member] for copy in copies]
    return sum(found.values()) == sum(of_each) > 0 and max(of_each) - min(of_each) <= 1


async def sold(db: Database) -> int:
    columns = tables.figures.c
    of_days = select(func.coalesce(func.sum(columns.orders), 0)).where(columns.dimension == "day")
    return int(await db.read(lambda connection: connection.execute(of_days).scalar_one()))


@pytest.mark.parametrize("kind", ["embedded", pytest.param("tansu", marks=pytest.mark.kafka)])
@pytest.mark.parametrize("of", ["leases", "effects"])
async def test_an_outage_of_a_copys_database(kind: str, of: str, database_url: str, tmp_path: Path) -> None:
    """Wherever it strikes, in what one copy does for its leases or for its effects, for longer than a lease."""
    async with shop(kind, database_url, tmp_path) as (db, log):
        copies = [Copy(db, log), Copy(db, log)]
        async with background(*(copy.follow() for copy in copies)):
            await eventually(lambda: shared(db, *copies))
            expected = 0
            for place in PLACES:
                held = await owners(db)
                stricken = max(copies, key=lambda copy: held[copy.group.member])
                failing = stricken.outage(of, place)
                for _ in range(3):
                    before = failing.failed
                    await log.append(lives(several(10)))
                    await eventually(lambda: failing.failed > before)  # noqa: B023 - it is called at once
                failing.fails_in = ""
                await log.append(lives(several(10)))
                expected += 40

                async def counted() -> bool:
                    assert await sold(db) == expected  # noqa: B023
                    return True

                await eventually(counted)
                await eventually(lambda: shared(db, *copies))
            assert await sold(db) == expected


class Partitions:
    """Fake: an event log of twelve partitions which hold nothing, and whose closing loses a cancellation."""

    system = "fake"

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.close = asyncio.Event()
        self.reading = 0

    async def partitions(self) -> int:
        return 12

    @asynccontextmanager
    async def read_partitions(self, after: Mapping[int, int]) -> AsyncIterator[LogReader]:
        self.reading += 1
        try:
            yield _Endless(after)
        finally:
            self.reading -= 1
            self.closing.set()
            with suppress(asyncio.CancelledError):
                await self.close.wait()


class _Endless:
    def __init__(self, after: Mapping[int, int]) -> None:
        self._moved = {each: offset + 1 for each, offset in after.items()}
        self.trouble = ""

    @property
    def position(self) -> Position:
        return Position(tuple(self._moved.get(each, 0) for each in range(12)))

    def __aiter__(self) -> _Endless:
        return self

    async def __anext__(self) -> Any:
        await asyncio.Event().wait()


async def test_a_copy_whose_reader_loses_a_cancellation_goes_on(database_url: str, tmp_path: Path) -> None:
    """A share that changes while a reader closes its reading after an error is read all the same."""
    log: Any = Partitions()
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        first, second = (ConsumerGroup(tables.group, db, log, lease=LEASE) for _ in range(2))
        failures = iter([StoreUnavailable()])
        stored = asyncio.Event()

        async def groups() -> list[str]:
            return ["sales-1"]

        async def effect(batch: Batch) -> None:
            for failure in failures:
                raise failure
            await db.write(lambda connection: first.commit(connection, batch))
            stored.set()

        async def other_effect(batch: Batch) -> None:
            await db.write(lambda connection: second.commit(connection, batch))

        async with background(first.follow(groups, effect)):
            await log.closing.wait()  # its effect has failed, and it closes the reading
            async with background(second.follow(groups, other_effect)):

                async def both_have_six() -> bool:
                    found = await owners(db)
                    assert found == {first.member: 6, second.member: 6}
                    return True

                await eventually(both_have_six)
                log.close.set()
                await eventually(lambda: log.reading == 2)
                await eventually(stored.is_set)
                await eventually(both_have_six)


@pytest.mark.parametrize("ends", [False, True], ids=["hangs", "ends"])
async def test_a_reader_that_stands_still_is_begun_anew(
    database_url: str, tmp_path: Path, ends: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that waits for something that does not come, or has ended, keeps no partition unread, and the log says so."""
    monkeypatch.setattr("chassis.broker.groups.consumer_group._HANGING_SECONDS", 2.0)
    log: Any = Partitions()
    log.close.set()
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        group = ConsumerGroup(tables.group, db, log, lease=LEASE)
        stored, began = asyncio.Event(), 0

        async def groups() -> list[str]:
            return ["sales-1"]

        async def effect(batch: Batch) -> None:
            nonlocal began
            began += 1
            if began == 1 and ends:
                task = group._readings["sales-1"].task
                assert task is not None
                task.cancel()
            if began == 1:
                await asyncio.Event().wait()
            await db.write(lambda connection: group.commit(connection, batch))
            stored.set()

        async with background(group.follow(groups, effect)):
            await eventually(stored.is_set)
        assert log.reading == 0
    assert "consumer group reader hangs or has ended: restarted" in caplog.messages


async def test_a_reader_that_does_not_end_keeps_no_other_group_waiting(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While one group's reader ignores that it is cancelled, the leases of the other group are renewed."""
    monkeypatch.setattr("chassis.broker.groups.consumer_group._HANGING_SECONDS", 2.0)
    log: Any = Partitions()
    log.close.set()
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        group = ConsumerGroup(tables.group, db, log, lease=LEASE)
        go_on = asyncio.Event()

        async def groups() -> list[str]:
            return ["sales-1", "sales-2"]

        async def effect(batch: Batch) -> None:
            while batch.group == "sales-1" and not go_on.is_set():
                with suppress(asyncio.CancelledError):
                    await go_on.wait()
            await db.write(lambda connection: group.commit(connection, batch))

        async def leased_until() -> datetime:
            columns = tables.group[0].c
            of_other = select(func.min(columns.leased_until)).where(columns.consumer_group == "sales-2")
            return await db.read(lambda connection: connection.execute(of_other).scalar_one())

        def ignored() -> bool:
            return caplog.messages.count("consumer group reader did not end when it was cancelled") >= 3

        async with background(group.follow(groups, effect)):
            await eventually(lambda: "consumer group reader did not end when it was cancelled" in caplog.messages)
            before = await leased_until()
            await eventually(ignored)
            assert await leased_until() > before
            go_on.set()


@ON_POSTGRESQL
async def test_a_copy_that_renews_its_leases_does_not_wait_for_its_effect_and_that_for_it(
    database_url: str, tmp_path: Path
) -> None:
    """An effect locks the rows of its partitions in their order, and so does what renews their leases."""
    log: Any = Partitions()
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        group = ConsumerGroup(tables.group, db, log)
        await group._balanced(["sales-1"])
        # PostgreSQL finds the rows in the order in which they were written: partition 0 comes last from now on.
        await db.write(lambda connection: group.commit(connection, _batch({0: (0, 1)})))
        await db.write(lambda connection: connection.execute(text("ANALYZE log_partitions")))
        async with db.transaction() as connection:
            await connection.run_sync(group.commit, _batch({0: (1, 2)}))
            renewing = asyncio.create_task(group._balanced(["sales-1"]))

            async def waits() -> bool:
                waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                query = text(f"{waiting} AND wait_event_type = 'Lock'")
                return bool(await db.read(lambda other: other.execute(query).scalar()))

            await eventually(waits)
            await connection.run_sync(group.commit, _batch(dict.fromkeys(range(1, 12), (0, 1))))
        assert set(await renewing) == {"sales-1"}


def _batch(read: Mapping[int, tuple[int, int]]) -> Batch:
    """A batch without entries, from one offset to another in each partition."""
    before, after = ({each: pair[end] for each, pair in read.items()} for end in (0, 1))
    return Batch("sales-1", [], before, after)


@ON_POSTGRESQL
async def test_a_copy_that_stands_still_within_a_transaction_holds_nothing_up(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends its session after a while, and so frees its rows: the others take its partitions over."""
    monkeypatch.setattr("chassis.database.engines._SERVER_SETTINGS", {"idle_in_transaction_session_timeout": "500ms"})
    log: Any = Partitions()
    log.close.set()
    url = url_of("reports", database_url, tmp_path)
    async with opened("reports", url) as its, opened("reports", url) as db:
        frozen, other = (ConsumerGroup(tables.group, each, log, lease=LEASE) for each in (its, db))
        await frozen._balanced(["sales-1"])

        async def groups() -> list[str]:
            return ["sales-1"]

        async def effect(batch: Batch) -> None:
            await db.write(lambda connection: other.commit(connection, batch))

        async def has_all() -> bool:
            assert await owners(db) == {other.member: 12}
            return True

        with pytest.raises(StoreUnavailable):
            async with its.transaction() as connection:
                await connection.run_sync(frozen.commit, _batch(dict.fromkeys(range(12), (0, 1))))
                async with background(other.follow(groups, effect)):
                    await eventually(has_all)
                await connection.run_sync(frozen.commit, _batch({0: (1, 2)}))


@ON_POSTGRESQL
async def test_a_session_whose_machine_has_vanished_is_noticed(database_url: str, tmp_path: Path) -> None:
    """PostgreSQL looks after ten seconds of silence whether a session's machine is there, and ends it if it is not."""
    async with opened("reports", url_of("reports", database_url, tmp_path)) as db:
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")

        def settings(connection: Connection) -> list[Any]:
            return [connection.execute(text(f"SHOW {name}")).scalar() for name in names]

        assert await db.read(settings) == ["10", "5", "3"]

"""A consumer group over the event log: copies of a service share its partitions, and each event counts once.

Leases and offsets are rows of the service's own database (ADR 31), so that the same holds over every log. A batch's
effect, and how far its partitions were read, are one transaction, which commits only while this copy holds their
leases and has missed nothing: of two copies that read the same entries one commits, and the other has `LeaseLost`.
A copy that dies holds its partitions until their leases end; then another one goes on after the last commit.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, Table, Text, bindparam, func, or_, select

from chassis import wall_clock
from chassis.background import background, forever
from chassis.broker.event_log import EventLog, LogEntry, LogReader, PositionExpired
from chassis.broker.groups.leases import Lease, Unchanged, share
from chassis.broker.port import BrokerUnavailable
from chassis.database.database import Database, UtcTime, insert_missing, lock_in_transaction
from chassis.retention import Deleted, Kept, Retention

log = logging.getLogger(__name__)

# Of an effect's transaction.
BATCH_SIZE = 200
# Seconds for which a batch waits for more: the longer where it follows closely on the one before, since each batch is a
# transaction and a wait for the disk, however few entries it has.
_GATHER_SECONDS = 0.01
_BUSY_GATHER_SECONDS = 0.1
# Seconds after which an empty batch says how far the log was read.
_IDLE_SECONDS = 1.0
# Held by a copy that changes leases: two that take one another for dead would wait for one another's rows.
_LOCK = "log_members"
# A lease is renewed so many times before it would end.
_BEATS = 4

GROUP_RETENTION: Retention = {
    "log_partitions": Kept("one row for each partition of each group, until the group is dropped"),
    "log_members": Deleted("when the copy stops, or its last sign of life is as old as a lease, by the others' next"),
}


def group_tables(metadata: MetaData) -> tuple[Table, Table]:
    """Partitions and members of the groups of one service, for its schema and its first migration."""
    partitions = Table(
        "log_partitions",
        metadata,
        Column("consumer_group", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        # The kind of log that the offset is one of.
        Column("log", Text, nullable=False),
        # Number of the newest entry whose effect is stored; 0 for none.
        Column("read", BigInteger, nullable=False),
        # When the first and the last event happened that were read, and when some were found to be missing in between.
        Column("first_at", UtcTime),
        Column("last_at", UtcTime),
        Column("gap_at", UtcTime),
        # The copy that reads it; empty for none.
        Column("owner", Text, nullable=False),
        Column("leased_until", UtcTime, nullable=False),
    )
    members = Table("log_members", metadata, Column("member", Text, primary_key=True), Column("seen_at", UtcTime))
    return partitions, members


class LeaseLost(Exception):
    """Another copy has taken a partition over: what was read of it is not to be stored."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of some partitions of a group, in order, and by partition how far it was read before and with them."""

    group: str
    entries: Sequence[LogEntry]
    before: Mapping[int, int]
    read: Mapping[int, int]


class ConsumerGroup:
    """One copy's part in the consumer groups of a service, of which there may be several over the same log."""

    def __init__(
        self, tables: tuple[Table, Table], database: Database, log: EventLog, *, lease: timedelta = timedelta(seconds=6)
    ) -> None:
        """`lease`: how long a partition waits for a copy that shows no sign of life."""
        self._partitions, self._members = tables
        self._database = database
        self._log = log
        self._lease = lease
        # Of others: a stamp that is in the future, by a clock that was set since, ends like any other.
        self._unchanged = Unchanged(lease.total_seconds())
        self._beat = lease.total_seconds() / _BEATS
        self._readers: dict[str, tuple[frozenset[int], AsyncExitStack]] = {}
        self.member = uuid.uuid4().hex
        self.changed = asyncio.Event()
        columns = self._partitions.c
        self._here = (columns.consumer_group == bindparam("of"), columns.partition == bindparam("at"))
        mine = (*self._here, columns.owner == self.member)
        self._advance = (
            self._partitions.update()
            .where(*mine, columns.read == bindparam("before"))
            .values(
                read=bindparam("after"),
                first_at=func.coalesce(columns.first_at, bindparam("first", type_=UtcTime())),
                last_at=func.coalesce(bindparam("last", type_=UtcTime()), columns.last_at),
            )
        )
        self._mark_gap = self._partitions.update().where(*mine).values(read=0, gap_at=bindparam("now"))

    def commit(self, connection: Connection, batch: Batch) -> None:
        """Store in the effect's transaction how far the log was read. Raises `LeaseLost`, and then it must fail."""
        for partition, read in sorted(batch.read.items()):
            times = [entry.event.time for entry in batch.entries if entry.partition == partition]
            values = {
                "of": batch.group,
                "at": partition,
                "before": batch.before[partition],
                "after": read,
                "first": times[0] if times else None,
                "last": times[-1] if times else None,
            }
            if connection.execute(self._advance, values).rowcount != 1:
                raise LeaseLost(f"{batch.group}, partition {partition}")

    async def follow(
        self, groups: Callable[[], Awaitable[Sequence[str]]], effect: Callable[[Batch], Awaitable[None]]
    ) -> None:
        """Read this copy's share of the groups, until cancelled.

        `groups` says which there are now, `effect` does what a batch is for in a transaction that calls `commit`.
        Setting `changed` calls `groups` at once.
        """

        async def balance() -> None:
            self.changed.clear()
            names = await groups()
            shares = await self._balanced(names)
            for name in self._readers.keys() | set(names):
                await self._read_by(name, frozenset(shares.get(name, ())), effect)

        try:
            await forever(balance, name="consumer group", every=self._beat, on=self.changed)
        finally:
            for name in tuple(self._readers):
                await self._read_by(name, frozenset(), effect)

    async def leave(self) -> None:
        """Give every partition to the other copies at once, once nothing is read any more."""

        def leaving(connection: Connection) -> None:
            lock_in_transaction(connection, _LOCK)
            mine = self._partitions.c.owner == self.member
            connection.execute(self._partitions.update().where(mine).values(owner=""))
            connection.execute(self._members.delete().where(self._members.c.member == self.member))

        await self._database.write(leaving)

    def leads(self, connection: Connection, group: str) -> bool:
        """Whether this copy has the group's first partition: for what only one copy is to do."""
        found = select(self._partitions.c.owner).where(*self._here)
        return connection.execute(found, {"of": group, "at": 0}).scalar() == self.member

    async def _balanced(self, groups: Sequence[str]) -> Mapping[str, Mapping[int, int]]:
        """Renew, claim and give up leases; by group, the partitions that this copy has now."""
        count = await self._log.partitions()

        def balancing(connection: Connection) -> Mapping[str, Mapping[int, int]]:
            lock_in_transaction(connection, _LOCK)
            now = wall_clock.now()
            members = self._alive(connection, now)
            return {group: self._share(connection, group, count, members, now) for group in sorted(groups)}

        return await self._database.write(balancing)

    def _alive(self, connection: Connection, now: datetime) -> int:
        """Give a sign of life; the number of copies that have given one lately."""
        members = self._members
        connection.execute(insert_missing(connection, members), {"member": self.member, "seen_at": now})
        connection.execute(members.update().where(members.c.member == self.member).values(seen_at=now))
        connection.execute(members.delete().where(members.c.seen_at < now - self._lease))
        for row in connection.execute(select(members).where(members.c.member != self.member)).all():
            if self._unchanged(row.member, row.seen_at):
                gone = (members.c.member == row.member, members.c.seen_at == row.seen_at)
                connection.execute(members.delete().where(*gone))
        return connection.execute(select(func.count()).select_from(members)).scalar_one()

    def _share(self, connection: Connection, group: str, count: int, members: int, now: datetime) -> Mapping[int, int]:
        table, columns = self._partitions, self._partitions.c
        of_group = columns.consumer_group == group
        rows = select(table).where(of_group, columns.partition < count).order_by(columns.partition)
        if len(connection.execute(rows).all()) < count:
            connection.execute(insert_missing(connection, table), [self._row(group, each) for each in range(count)])
        of_another_log = of_group & (columns.log != self._log.system)
        connection.execute(table.update().where(of_another_log).values(log=self._log.system, read=0, gap_at=now))
        for row in connection.execute(rows).all():
            held_elsewhere = row.owner not in ("", self.member)
            if held_elsewhere and self._unchanged((group, row.partition), (row.owner, row.leased_until)):
                ended = (columns.owner == row.owner, columns.leased_until == row.leased_until)
                free_again = {"of": group, "at": row.partition}
                connection.execute(table.update().where(*self._here, *ended).values(owner=""), free_again)
        leases = [Lease(row.partition, row.owner, row.leased_until) for row in connection.execute(rows)]
        claimed, given_up = share(leases, self.member, members, now)
        until = now + self._lease
        mine, free = columns.owner == self.member, or_(columns.owner == "", columns.leased_until < now)
        connection.execute(table.update().where(of_group, mine).values(leased_until=until))
        take = table.update().where(*self._here, free).values(owner=self.member, leased_until=until)
        for partition in claimed:
            connection.execute(take, {"of": group, "at": partition})
        for partition in given_up:
            give = table.update().where(*self._here, mine).values(owner="")
            connection.execute(give, {"of": group, "at": partition})
        return {row.partition: row.read for row in connection.execute(rows) if row.owner == self.member}

    def _row(self, group: str, partition: int) -> dict[str, Any]:
        # Free since ever.
        lease = {"owner": "", "leased_until": datetime(1970, 1, 1, tzinfo=UTC)}
        return {"consumer_group": group, "partition": partition, "log": self._log.system, "read": 0, **lease}

    async def _read_by(self, group: str, wanted: frozenset[int], effect: Callable[[Batch], Awaitable[None]]) -> None:
        """Have exactly these partitions of a group read."""
        partitions, reading = self._readers.get(group, (frozenset(), None))
        if partitions == wanted:
            return
        self._readers.pop(group, None)
        if reading is not None:
            await reading.aclose()
        if not wanted:
            return
        log.info("reading partitions of the event log", extra={"group": group, "partitions": sorted(wanted)})
        stack = AsyncExitStack()
        await stack.enter_async_context(background(self._reader(group, wanted, effect)))
        self._readers[group] = wanted, stack

    async def _reader(self, group: str, wanted: frozenset[int], effect: Callable[[Batch], Awaitable[None]]) -> None:
        table, columns = self._partitions, self._partitions.c
        mine = select(table).where(columns.consumer_group == group, columns.owner == self.member)

        async def read() -> None:
            rows = await self._database.read(lambda connection: connection.execute(mine).all())
            offsets = {row.partition: row.read for row in rows if row.partition in wanted}
            if offsets.keys() != wanted:
                return
            try:
                async with self._log.read_partitions(offsets) as entries:
                    async for batch in _batches(group, entries, offsets):
                        await effect(batch)
            except LeaseLost as lost:
                log.info("a partition was taken over by another copy", extra={"partition": str(lost)})
            except PositionExpired as expired:
                await self._begin_again(group, wanted if expired.partition is None else [expired.partition], expired)

        await forever(read, name=f"consumer group {group}", every=self._beat)

    async def _begin_again(self, group: str, partitions: Iterable[int], why: PositionExpired) -> None:
        """Read all that is left of these partitions, and remember that something is missing before it."""
        log.warning("the event log has lost what was not read yet", extra={"group": group, "reason": str(why)})
        marks = [{"of": group, "at": partition, "now": wall_clock.now()} for partition in sorted(partitions)]
        await self._database.write(lambda connection: connection.execute(self._mark_gap, marks))


async def _batches(group: str, entries: LogReader, offsets: Mapping[int, int]) -> AsyncIterator[Batch]:
    """The entries that are there, in batches; an empty batch for records that are no events."""
    before = dict(offsets)
    while True:
        found: list[LogEntry] = []
        idle_since = time.monotonic()
        async with _at_most(_IDLE_SECONDS):
            found.append(await _next(entries))
        busy = time.monotonic() - idle_since < _BUSY_GATHER_SECONDS
        async with _at_most(_BUSY_GATHER_SECONDS if busy else _GATHER_SECONDS):
            while found and len(found) < BATCH_SIZE:
                found.append(await _next(entries))
        if found:
            read = {entry.partition: entry.offset for entry in found}
        else:
            position = entries.position
            read = {each: position.offset(each) for each, seen in before.items() if position.offset(each) > seen}
        if read:
            yield Batch(group, found, {partition: before[partition] for partition in read}, read)
            before |= read


async def _next(entries: LogReader) -> LogEntry:
    entry = await anext(entries, None)
    if entry is None:
        raise BrokerUnavailable("the event log was closed")
    return entry


@asynccontextmanager
async def _at_most(seconds: float) -> AsyncIterator[None]:
    """Leave the block after so many seconds; a read of the log that is given up loses nothing."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        return

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
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, bindparam, func, or_, select

from chassis import wall_clock
from chassis.background import Backoff, forever
from chassis.broker.event_log import EventLog, LogEntry, PositionExpired
from chassis.broker.groups.leases import Lease, Unchanged, share
from chassis.broker.groups.read_ahead import ReadAhead, read_ahead
from chassis.broker.groups.tables import lock_partitions
from chassis.database.database import Database, UtcTime, insert_missing, lock_in_transaction

log = logging.getLogger(__name__)

# Seconds without a step of a reader after which it hangs: longer than any time-out of a database or a log.
_HANGING_SECONDS = 90.0
# Held by a copy that changes leases: two that take one another for dead would wait for one another's rows.
_LOCK = "log_members"
# A lease is renewed so many times before it would end.
_BEATS = 4


class LeaseLost(Exception):
    """Another copy has taken a partition over: what was read of it is not to be stored."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries of some partitions of a group, in order, and by partition how far it was read before and with them."""

    group: str
    entries: Sequence[LogEntry]
    before: Mapping[int, int]
    read: Mapping[int, int]


class _Reading:
    """The reading of some partitions of a group by this copy."""

    def __init__(self, partitions: frozenset[int]) -> None:
        self.partitions = partitions
        self.task: asyncio.Task[None] | None = None
        self._stepped_at = time.monotonic()

    def steps(self) -> None:
        """Note that the reader goes on, even if there are no entries or it fails."""
        self._stepped_at = time.monotonic()

    def hangs(self) -> bool:
        """Whether it has ended by itself, or waits for something that does not happen."""
        return self.task is None or self.task.done() or time.monotonic() - self._stepped_at > _HANGING_SECONDS


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
        self._readings: dict[str, _Reading] = {}
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

        `groups` returns those of now, `effect` does what a batch is for in a transaction that calls `commit`.
        Setting `changed` calls `groups` at once.
        """

        async def balance() -> None:
            self.changed.clear()
            # Whatever hangs in there is logged and restarted.
            async with asyncio.timeout(_HANGING_SECONDS):
                names = await groups()
                shares = await self._balanced(names)
            for name in self._readings.keys() | set(names):
                await self._read_by(name, frozenset(shares.get(name, ())), effect)

        try:
            await forever(balance, name="consumer group", every=self._beat, on=self.changed)
        finally:
            for name, reading in tuple(self._readings.items()):
                while not await self._end(name, reading):
                    pass

    async def leave(self) -> None:
        """Give every partition to the other copies at once, once nothing is read any more."""

        def leaving(connection: Connection) -> None:
            lock_in_transaction(connection, _LOCK)
            mine = self._partitions.c.owner == self.member
            lock_partitions(connection, self._partitions, mine)
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
        # Each in a transaction of its own: an effect may hold rows of one group while it waits for another one's.
        return {
            group: await self._database.write(partial(self._balance, group=group, count=count))
            for group in sorted(groups)
        }

    def _balance(self, connection: Connection, *, group: str, count: int) -> Mapping[int, int]:
        lock_in_transaction(connection, _LOCK)
        now = wall_clock.now()
        return self._share(connection, group, count, self._alive(connection, now), now)

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
        lock_partitions(connection, table, of_group)
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
        """Have exactly these partitions of a group read, by a reader that goes on."""
        reading = self._readings.get(group)
        if reading is not None:
            hangs = reading.hangs()
            if reading.partitions == wanted and not hangs:
                return
            if hangs:
                log.error("consumer group reader hangs or has ended: restarted", extra={"group": group})
            if not await self._end(group, reading):
                return  # until the next beat
        if not wanted:
            return
        log.info("consumer group: reading begun", extra={"group": group, "partitions": sorted(wanted)})
        reading = self._readings[group] = _Reading(wanted)
        reading.task = asyncio.create_task(self._reader(group, reading, effect))

    async def _end(self, group: str, reading: _Reading) -> bool:
        """End the reading of a group's partitions; whether it has ended.

        It waits for a beat at most, as the leases of all other groups are renewed by the same task.
        """
        if reading.task is not None:
            reading.task.cancel()
            await asyncio.wait({reading.task}, timeout=self._beat)
            if not reading.task.done():
                log.warning("consumer group reader did not end when it was cancelled", extra={"group": group})
                return False
            if not reading.task.cancelled() and (error := reading.task.exception()) is not None:
                log.error("consumer group reader failed", extra={"group": group}, exc_info=error)
        self._readings.pop(group, None)
        return True

    async def _reader(self, group: str, reading: _Reading, effect: Callable[[Batch], Awaitable[None]]) -> None:
        table, columns = self._partitions, self._partitions.c
        mine = select(table).where(columns.consumer_group == group, columns.owner == self.member)
        wanted = reading.partitions
        backoff = Backoff(f"consumer group {group}")

        async def read() -> None:
            reading.steps()
            rows = await self._database.read(lambda connection: connection.execute(mine).all())
            offsets = {row.partition: row.read for row in rows if row.partition in wanted}
            if offsets.keys() != wanted:
                self.changed.set()  # some were taken over: another share is to be read
                return
            try:
                async with self._log.read_partitions(offsets) as entries, read_ahead(entries) as ahead:
                    while True:
                        reading.steps()
                        if (batch := await _next_batch(group, ahead, offsets)) is not None:
                            await effect(batch)
                            offsets |= batch.read
                        if not entries.trouble:
                            backoff.worked()
            except LeaseLost as lost:
                log.info("consumer group: partition taken over by another copy", extra={"partition": str(lost)})
                self.changed.set()
            except PositionExpired as expired:
                await self._begin_again(group, wanted if expired.partition is None else [expired.partition], expired)

        await forever(read, name=f"consumer group {group}", every=self._beat, backoff=backoff)

    async def _begin_again(self, group: str, partitions: Iterable[int], why: PositionExpired) -> None:
        """Read all that is left of these partitions, and remember that something is missing before it."""
        log.warning(
            "consumer group: unread events are no longer in the log", extra={"group": group, "reason": str(why)}
        )
        marks = [{"of": group, "at": partition, "now": wall_clock.now()} for partition in sorted(partitions)]
        await self._database.write(lambda connection: connection.execute(self._mark_gap, marks))


async def _next_batch(group: str, ahead: ReadAhead, read: Mapping[int, int]) -> Batch | None:
    """The next batch; without entries for records that are no events, and None where there are not even those."""
    found = await ahead.batch()
    if found:
        now = {entry.partition: entry.offset for entry in found}
    else:
        position = ahead.idle_position()
        if position is None:
            return None
        now = {each: position.offset(each) for each, seen in read.items() if position.offset(each) > seen}
    return Batch(group, found, {partition: read[partition] for partition in now}, now) if now else None

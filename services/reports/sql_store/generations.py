"""Generations: which one is read and served, and the change from one to the next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, tuple_, update

from chassis import wall_clock
from chassis.background import forever, in_batches
from chassis.broker.event_log import START, EventLog, Position
from chassis.broker.groups.tables import lock_partitions
from chassis.database.database import Database, after_commit, insert_missing, lock_in_transaction
from services.reports.ports import Progress, Rebuild
from services.reports.sql_store.tables import (
    READ,
    SERVED,
    SETTLED_KEEP,
    State,
    changed_days,
    figures,
    generations,
    group,
    group_of,
    orders,
    served_generation,
)

log = logging.getLogger(__name__)

# Days that are published when all figures may have changed.
MAX_DAYS_PUBLISHED = 31
_LOCK = "generations"
_SWEEP_SECONDS = 10.0
# Small: a batch of the log that is stored meanwhile waits for one of these at most.
_SWEEP_BATCH = 500
_partitions = group[0]


class Generations:
    def __init__(self, database: Database, event_log: EventLog, changed: asyncio.Event) -> None:
        """`changed` is set when other generations are to be read than before."""
        self._database = database
        self._log = event_log
        self._changed = changed

    async def start(self) -> Rebuild:
        upto = str(await self._log.last_position())

        def starting(connection: Connection) -> Rebuild:
            newest = _begin(connection)
            building = connection.execute(select(generations).where(generations.c.state == State.BUILDING)).first()
            if building is None:
                row = {"id": newest + 1, "state": State.BUILDING, "started_at": wall_clock.now(), "upto": upto}
                connection.execute(insert(generations), row)
                building = connection.execute(select(generations).where(generations.c.id == newest + 1)).one()
            return _rebuild(connection, building)

        found = await self._database.write(starting)
        self._changed.set()
        return found

    async def newest(self) -> Rebuild:
        await self.groups()

        def reading(connection: Connection) -> Rebuild:
            row = connection.execute(select(generations).order_by(generations.c.id.desc()).limit(1)).one()
            return _rebuild(connection, row)

        return await self._database.read(reading)

    async def progress(self) -> Sequence[Progress]:
        def reading(connection: Connection) -> dict[int, Any]:
            served = connection.execute(select(served_generation)).scalar() or 0
            of_it = (_partitions.c.consumer_group == group_of(served), _partitions.c.log == self._log.system)
            return {row.partition: row for row in connection.execute(select(_partitions).where(*of_it))}

        # Before the log's end: what is read in between counts as unread.
        rows = await self._database.read(reading)
        end = await self._log.last_position()
        return [_progress(partition, rows.get(partition), last) for partition, last in enumerate(end.offsets)]

    async def groups(self) -> Sequence[str]:
        """The consumer groups whose events are to be read now; with the first generation, if there is none yet."""
        states = await self._states()
        building = [generation for generation, state in states.items() if state == State.BUILDING]
        if not states:
            await self._database.write(_begin)
        for generation in building:
            # Where nothing is left to be read, no batch of events does it.
            await self._database.write(partial(self.advance, building=generation))
        if building or not states:
            states = await self._states()
        return [group_of(generation) for generation, state in states.items() if state in READ]

    async def _states(self) -> dict[int, str]:
        rows = await self._database.rows(select(generations.c.id, generations.c.state))
        return {row.id: row.state for row in rows}

    def advance(self, connection: Connection, building: int) -> None:
        """Have a generation served in place of its predecessor once it has read as much of the log.

        Once it has read what there was when it began, the predecessor is read no further: else the one that is ahead
        would stay ahead while events keep coming.
        """
        lock_in_transaction(connection, _LOCK)
        row = connection.execute(select(generations).where(generations.c.id == building)).first()
        if row is None or row.state != State.BUILDING or _remaining(connection, row):
            return
        served = connection.execute(select(generations).where(generations.c.state.in_(SERVED))).one()
        if served.state == State.SERVING:
            # A copy that is about to commit a batch of it finds that it does not own the partition any more.
            mine = _partitions.c.consumer_group == group_of(served.id)
            lock_partitions(connection, _partitions, mine)
            connection.execute(update(_partitions).where(mine).values(owner=""))
            _enter(connection, served.id, State.CLOSING)
            after_commit(connection, self._changed.set)
        now = _read(connection, building)
        # Of another kind of log, which was read before this one, nothing more can be read.
        former = {place: seen for place, seen in _read(connection, served.id).items() if place[0] == self._log.system}
        if all(seen <= now.get(place, 0) for place, seen in former.items()):
            self._replace(connection, served.id, building)

    def _replace(self, connection: Connection, served: int, building: int) -> None:
        _enter(connection, served, State.RETIRED)
        _enter(connection, building, State.SERVING)
        days = select(figures.c.day).where(figures.c.generation == building).distinct()
        newest = connection.execute(days.order_by(figures.c.day.desc()).limit(MAX_DAYS_PUBLISHED)).scalars()
        if rows := [{"day": day} for day in newest]:
            connection.execute(insert_missing(connection, changed_days), rows)
        after_commit(connection, self._changed.set)
        log.info("sales report: rebuild complete, its figures are served", extra={"generation": building})

    async def sweep(self) -> None:
        """Delete retired generations, and orders that were settled long ago, while the process lives."""
        sweeping = partial(self._database.if_alone, "sweep", self._sweep_once)
        await forever(sweeping, name="sales retention", every=_SWEEP_SECONDS)

    async def _sweep_once(self) -> None:
        key = (orders.c.generation, orders.c.order_id)
        await self._delete_all(orders, key, orders.c.settled_at < wall_clock.now() - SETTLED_KEEP)
        retired = select(generations.c.id).where(generations.c.state == State.RETIRED)
        over = await self._database.read(lambda connection: connection.execute(retired).scalars().all())
        for generation in over:
            await self._delete_all(orders, key, orders.c.generation == generation)
            await self._delete_all(figures, tuple(figures.primary_key), figures.c.generation == generation)

            await self._database.write(partial(_forget, generation=generation))
        await self._database.write(_forget_strays)

    async def _delete_all(self, table: Any, key: Any, condition: Any) -> None:
        some = delete(table).where(tuple_(*key).in_(select(*key).where(condition).limit(_SWEEP_BATCH)))

        def deleting(connection: Connection) -> int:
            return connection.execute(some).rowcount

        await in_batches(lambda: self._database.write(deleting), size=_SWEEP_BATCH)


def _begin(connection: Connection) -> int:
    """The newest generation: if there is none yet, the first one, which is served while it is filled."""
    lock_in_transaction(connection, _LOCK)
    newest: int | None = connection.execute(select(func.max(generations.c.id))).scalar()
    if newest is None:
        newest = 1
        first = {"id": newest, "state": State.SERVING, "started_at": wall_clock.now(), "upto": str(START)}
        connection.execute(insert(generations), first)
    return newest


def _forget(connection: Connection, generation: int) -> None:
    connection.execute(delete(_partitions).where(_partitions.c.consumer_group == group_of(generation)))
    connection.execute(delete(generations).where(generations.c.id == generation))


def _forget_strays(connection: Connection) -> None:
    """A copy that had not seen yet that a generation is over may have added rows of its group once more."""
    # Else a generation that another copy begins in between would lose what it has just begun to read.
    lock_in_transaction(connection, _LOCK)
    left = connection.execute(select(generations.c.id)).scalars().all()
    strays = _partitions.c.consumer_group.not_in([group_of(each) for each in left])
    connection.execute(delete(_partitions).where(strays))


def _enter(connection: Connection, generation: int, state: State) -> None:
    connection.execute(update(generations).where(generations.c.id == generation).values(state=state))


def _read(connection: Connection, generation: int) -> dict[tuple[str, int], int]:
    """The number of the newest entry that was read, by kind of log and partition."""
    rows = select(_partitions).where(_partitions.c.consumer_group == group_of(generation))
    return {(row.log, row.partition): row.read for row in connection.execute(rows)}


def _remaining(connection: Connection, row: Any) -> int:
    """Entries that are still to be read, of those that the log had when the generation began.

    A partition that has lost some of them, or belongs to another kind of log by now, is not measured by them.
    """
    if row.state != State.BUILDING:
        return 0
    upto = Position.parse(row.upto)
    rows = select(_partitions).where(_partitions.c.consumer_group == group_of(row.id))
    read = {each.partition: None if each.gap_at else each.read for each in connection.execute(rows)}
    left = 0
    for partition, end in enumerate(upto.offsets):
        seen = read.get(partition, 0)
        left += 0 if seen is None else max(0, end - seen)
    return left


def _progress(partition: int, row: Any, last: int) -> Progress:
    """`row` is None for a partition that no copy has reached yet."""
    if row is None:
        return Progress(partition, 0, last, None, None)
    return Progress(partition, row.read, max(0, last - row.read), row.first_at, row.gap_at)


def _rebuild(connection: Connection, row: Any) -> Rebuild:
    return Rebuild(row.id, row.state != State.BUILDING, row.started_at, _remaining(connection, row))

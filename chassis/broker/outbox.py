"""The transactional outbox: events are rows in the state's own transaction, and a relay publishes them, at least once.

A process that dies after the commit and before the publish loses nothing: the next relay finds the row.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    select,
    text,
)

from chassis import wall_clock
from chassis.background import background, forever
from chassis.broker.port import Broker, BrokerUnavailable, Event
from chassis.database.database import Database, UtcTime, after_commit
from chassis.observability.tracing import Telemetry, current_traceparent
from chassis.retention import Deleted

if TYPE_CHECKING:
    from chassis.observability.metrics import Metrics

_BATCH = 200
_POLL_SECONDS = 0.5
_MAX_PAUSE = 2.0
_MEASURE_SECONDS = 2.0
_MAX_COUNTED = 10_000
_PRUNE_SECONDS = 3600.0
# Small, and with a pause after each: a transaction that adds an event meanwhile waits for one page at most.
_PRUNE_PAGE = 200
_PRUNE_PAUSE_SECONDS = 0.05
_KEEP = timedelta(days=1)
OUTBOX_RETENTION = Deleted(f"{_KEEP.days} day after the event was published, by the outbox relay")
# Seconds from the end of one batch to the next one's beginning, so that what comes meanwhile goes together: an event
# more in a batch costs a tenth of its transactions and its lock. Twice as long after each batch of several events: what
# comes often gets larger batches.
_FLUSH_INTERVAL = 0.01
_MAX_FLUSH_INTERVAL = 0.1


def outbox_table(metadata: MetaData) -> Table:
    """The outbox of one service, for its schema and its first migration."""
    return Table(
        "outbox",
        metadata,
        Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("event_id", Text, nullable=False, unique=True),
        Column("type", Text, nullable=False),
        Column("source", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("time", UtcTime, nullable=False),
        Column("data", LargeBinary, nullable=False),
        Column("extensions", Text, nullable=False),
        Column("published_at", UtcTime),
        Index(
            "outbox_pending",
            "position",
            sqlite_where=text("published_at IS NULL"),
            postgresql_where=text("published_at IS NULL"),
        ),
        sqlite_autoincrement=True,
    )


def traced(event: Event) -> Event:
    """The event with the trace that is current now, for a transaction that is run for several callers at once."""
    traceparent = current_traceparent()
    return replace(event, extensions={"traceparent": traceparent, **event.extensions}) if traceparent else event


class Outbox:
    """Adds events to the transaction that changes the state, and relays them once it has committed."""

    def __init__(
        self,
        table: Table,
        database: Database,
        broker: Broker,
        telemetry: Telemetry,
        *,
        keep: timedelta | None = _KEEP,
        flush_interval: float = _FLUSH_INTERVAL,
    ) -> None:
        """`keep`: how long a published event stays; None for ever, where the outbox is also the history.

        `flush_interval`: least seconds between two batches. An event that comes alone does not wait.
        """
        self._database = database
        self._broker = broker
        self._telemetry = telemetry
        self._keep = keep
        self._flush_interval = self._gathering = flush_interval
        self._pending = asyncio.Event()
        # Built once: SQLAlchemy caches what they compile to.
        columns = table.c
        self._insert = table.insert()
        self._select_pending = (
            table.select().where(columns.published_at.is_(None)).order_by(columns.position).limit(_BATCH)
        )
        waiting = (
            select(columns.time).where(columns.published_at.is_(None)).order_by(columns.position).limit(_MAX_COUNTED)
        ).subquery()
        self._select_lag = select(func.count().label("pending"), func.min(waiting.c.time).label("oldest"))
        self._mark = table.update().where(columns.position == bindparam("at")).values(published_at=bindparam("now"))
        behind = columns.position > bindparam("after")
        page = select(columns.position, columns.published_at).where(behind)
        self._select_page = page.order_by(columns.position).limit(_PRUNE_PAGE)
        self._delete_expired = table.delete().where(
            behind, columns.position <= bindparam("upto"), columns.published_at < bindparam("before")
        )

    def add(self, connection: Connection, *events: Event) -> None:
        """Add events to the connection's transaction; each goes with its own trace (`traced`), or the current one."""
        traceparent = current_traceparent()
        rows = [
            {
                "event_id": event.id,
                "type": event.type,
                "source": event.source,
                "subject": event.subject,
                "time": event.time,
                "data": event.data,
                "extensions": orjson.dumps(
                    {"traceparent": traceparent, **event.extensions} if traceparent else dict(event.extensions)
                ).decode(),
            }
            for event in events
        ]
        connection.execute(self._insert, rows)
        after_commit(connection, self._pending.set)

    async def relay(self) -> None:
        """Publish what is pending while the process lives: after a commit here at once, else every half second."""
        measuring = [self._measuring(self._telemetry.metrics)] if self._telemetry.metrics is not None else []
        # Beside publishing, which does not wait until a long backlog is forgotten.
        pruning = forever(self._prune, name="outbox retention", every=_PRUNE_SECONDS)
        async with background(pruning, *measuring):
            await forever(self._relay, name="outbox relay", every=_POLL_SECONDS, on=self._pending, max_pause=_MAX_PAUSE)

    async def _measuring(self, metrics: Metrics) -> None:
        """Show how much waits to be published and for how long, which is the same in every copy."""
        pending = metrics.gauge("outbox_pending_events", "Events that wait in the outbox, at most 10,000 counted")
        oldest = metrics.gauge("outbox_oldest_seconds", "Age of the oldest event that waits in the outbox; 0 for none")

        async def measure() -> None:
            row = await self._database.read(lambda connection: connection.execute(self._select_lag).one())
            pending.set(row.pending)
            oldest.set((wall_clock.now() - row.oldest).total_seconds() if row.oldest else 0)

        await forever(measure, name="outbox metrics", every=_MEASURE_SECONDS)

    async def _relay(self) -> float | None:
        published = await self._relay_batch()
        if published == _BATCH:
            return 0.0
        if published:
            longer = max(self._flush_interval, min(2 * self._gathering, _MAX_FLUSH_INTERVAL))
            self._gathering = longer if published > 1 else self._flush_interval
            await asyncio.sleep(self._gathering)
        # However little is committed here: another process may have died before publishing theirs.
        return _POLL_SECONDS

    async def _relay_batch(self) -> int:
        """Publish the oldest pending events, once no other process does. Returns how many."""
        if not self._pending.is_set() and not await self._read_pending():
            return 0  # nothing was committed here, nor is there anything of a process that died
        # Waits for its turn: what was just committed here may have come too late for the other one's query.
        async with self._database.lock("relay"):
            self._pending.clear()
            rows = await self._read_pending()
            if rows:
                await self._publish(rows)
            return len(rows)

    async def _read_pending(self) -> Sequence[Any]:
        return await self._database.read(lambda connection: connection.execute(self._select_pending).all())

    async def _publish(self, rows: Sequence[Any]) -> None:
        """Publish all of them at once; where that fails, each subject by itself, so that none holds up the others."""
        try:
            await self._send(rows)
        except BrokerUnavailable:
            if len(rows) == 1:
                raise
            by_subject: dict[str, list[Any]] = defaultdict(list)
            for row in rows:
                by_subject[row.subject].append(row)
            outcomes = await asyncio.gather(*map(self._send_in_order, by_subject.values()), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome from None

    async def _send_in_order(self, rows: Sequence[Any]) -> None:
        for row in rows:
            await self._send([row])

    async def _send(self, rows: Sequence[Any]) -> None:
        """Publish, and mark what was confirmed."""
        await self._broker.publish([_event(row) for row in rows])
        now = wall_clock.now()
        marks = [{"at": row.position, "now": now} for row in rows]
        # After a power failure they are published again, as after a death before this.
        await self._database.execute(self._mark, marks, durable=False)

    async def _prune(self) -> None:
        """Forget what was published long enough ago, in small transactions.

        In the order of their positions, which is about that of their times, for these have no index. It goes on behind
        rows that are not published, and ends where a page has published ones and all of them are to stay.
        """
        if self._keep is None:
            return
        before, after = wall_clock.now() - self._keep, 0
        while rows := await self._read_page(after):
            published = [row.published_at for row in rows if row.published_at is not None]
            expired = any(at < before for at in published)
            if expired:
                await self._forget({"after": after, "upto": rows[-1].position, "before": before})
            if published and not expired:
                return
            after = rows[-1].position
            await asyncio.sleep(_PRUNE_PAUSE_SECONDS)

    async def _read_page(self, after: int) -> Sequence[Any]:
        return await self._database.read(
            lambda connection: connection.execute(self._select_page, {"after": after}).all()
        )

    async def _forget(self, bounds: dict[str, object]) -> None:
        await self._database.write(lambda connection: connection.execute(self._delete_expired, bounds).rowcount)


def _event(row: Any) -> Event:
    """The event of a row, which carries the trace of its transaction."""
    extensions: dict[str, str] = orjson.loads(row.extensions)
    return Event(row.event_id, row.type, row.source, row.subject, row.time, row.data, extensions)

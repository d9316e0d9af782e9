"""The inbox: a consumer records an event's id in the transaction of its effect, so that a repeat changes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Column, Connection, Index, MetaData, Table, Text, bindparam, select, tuple_

from chassis import wall_clock
from chassis.background import forever, in_batches
from chassis.database.database import Database, UtcTime, insert_missing
from chassis.observability.tracing import note
from chassis.retention import Deleted

# No redelivery comes that late: the log keeps events for 7 days, and a dead letter has not been recorded as handled.
INBOX_KEEP = timedelta(days=30)
INBOX_RETENTION = Deleted(f"{INBOX_KEEP.days} days after the event was handled, by Inbox.pruning")

_PRUNE_SECONDS = 3600.0
# Small: a consumer that records an event meanwhile waits for one batch at most.
_PRUNE_BATCH = 200


def inbox_table(metadata: MetaData) -> Table:
    """The inbox of one service, for its schema and its first migration."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Text, primary_key=True),
        Column("handled_at", UtcTime, nullable=False),
        # Pruning looks for the oldest.
        Index("inbox_by_time", "handled_at"),
    )


class Inbox:
    """The events that one service's consumers have handled."""

    def __init__(self, table: Table) -> None:
        self._table = table
        key = (table.c.consumer, table.c.event_id)
        expired = select(*key).where(table.c.handled_at < bindparam("before")).limit(_PRUNE_BATCH)
        self._delete_expired = table.delete().where(tuple_(*key).in_(expired))

    def first_time(self, connection: Connection, consumer: str, event_id: str) -> bool:
        """Record that `consumer` handles the event in this transaction; False when it has done so already."""
        first = connection.execute(insert_missing(connection, self._table), _row(consumer, event_id)).rowcount == 1
        if not first:
            note("duplicate_dropped")
        return first

    async def record(self, database: Database, consumer: str, event_id: str) -> None:
        """Record that `consumer` has handled an event whose effect is in no transaction, such as a mail.

        After a power failure the effect may come again, as after a death before this.
        """
        await database.add_missing(self._table, [_row(consumer, event_id)], durable=False)

    async def pruning(self, database: Database) -> None:
        """Prune every hour while the process lives; one process at a time on a database."""

        async def once() -> None:
            await self.prune(database, wall_clock.now() - INBOX_KEEP)

        pruning = partial(database.if_alone, "inbox-retention", once)
        await forever(pruning, name="inbox retention", every=_PRUNE_SECONDS)

    async def prune(self, database: Database, before: datetime) -> int:
        """Delete the events handled before a moment, in small transactions; how many they were."""

        def deleting(connection: Connection) -> int:
            return connection.execute(self._delete_expired, {"before": before}).rowcount

        return await in_batches(lambda: database.write(deleting), size=_PRUNE_BATCH)


def _row(consumer: str, event_id: str) -> dict[str, object]:
    return {"consumer": consumer, "event_id": event_id, "handled_at": wall_clock.now()}

"""The inbox: a consumer records an event's id in the transaction of its effect, so that a repeat changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, Connection, MetaData, Table, Text

from chassis.database import UtcTime, insert_missing


def inbox_table(metadata: MetaData) -> Table:
    """The inbox of one service, for its schema and its first migration."""
    return Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Text, primary_key=True),
        Column("handled_at", UtcTime, nullable=False),
    )


class Inbox:
    """What one service's consumers have handled."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def first_time(self, connection: Connection, consumer: str, event_id: str) -> bool:
        """Record that `consumer` handles the event in this transaction; False when it has done so already."""
        row = {"consumer": consumer, "event_id": event_id, "handled_at": datetime.now(UTC)}
        return connection.execute(insert_missing(connection, self._table), row).rowcount == 1

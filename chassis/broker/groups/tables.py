"""The tables of a service's consumer groups, which are in its own database."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Integer, MetaData, Table, Text, select

from chassis.database.database import UtcTime
from chassis.retention import Deleted, Kept, Retention

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


def lock_partitions(connection: Connection, partitions: Table, which: ColumnElement[bool]) -> None:
    """Lock rows of a group in the order in which effects lock theirs: else the two might wait for one another."""
    columns = partitions.c
    in_order = select(columns.partition).where(which).order_by(columns.consumer_group, columns.partition)
    connection.execute(in_order.with_for_update())

"""The tables. Each figure belongs to a generation: a rebuild fills a new one beside the one that is served."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from sqlalchemy import BigInteger, Column, Date, Index, Integer, MetaData, Table, Text, select

from chassis.broker.groups.tables import GROUP_RETENTION, group_tables
from chassis.broker.outbox import OUTBOX_RETENTION, outbox_table
from chassis.database.database import UtcTime
from chassis.retention import MIGRATED, Deleted, Kept, Retention

# No repeat comes that late: the log keeps events for 7 days.
SETTLED_KEEP = timedelta(days=30)


class State(StrEnum):
    """A generation's life, in order. Exactly one is served: the one that is SERVING, or CLOSING for its successor."""

    BUILDING = "building"
    SERVING = "serving"
    CLOSING = "closing"
    RETIRED = "retired"


SERVED = (State.SERVING, State.CLOSING)
READ = (State.SERVING, State.BUILDING)

metadata = MetaData()
generations = Table(
    "generations",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    # Where the log ended when it began.
    Column("upto", Text, nullable=False),
)
# What is known of an order: so that it counts once, however often its events come, and in whatever order.
orders = Table(
    "orders",
    metadata,
    Column("generation", Integer, primary_key=True),
    Column("order_id", Text, primary_key=True),
    # What was ordered, as JSON; empty until it is known.
    Column("placed", Text, nullable=False),
    Column("paid_at", UtcTime),
    # When it was read that it was paid, rejected or cancelled.
    Column("settled_at", UtcTime),
    Index("orders_by_settling", "settled_at"),
)
figures = Table(
    "figures",
    metadata,
    Column("generation", Integer, primary_key=True),
    Column("dimension", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("revenue_minor", BigInteger, nullable=False),
)
changed_days = Table("changed_days", metadata, Column("day", Date, primary_key=True))
outbox = outbox_table(metadata)
group = group_tables(metadata)
RETENTION: Retention = {
    **MIGRATED,
    **GROUP_RETENTION,
    "generations": Deleted("once all that belongs to a retired one is deleted, by Generations.sweep"),
    "orders": Deleted(
        f"{SETTLED_KEEP.days} days after it was read that the order was paid or ended, and with its generation, by "
        "Generations.sweep; one that waits for its payment is kept"
    ),
    "figures": Kept("they are the report: one for each day, product and customer; a retired generation's are deleted"),
    "changed_days": Deleted("when they are published, at most a second later, by the copy that leads"),
    "outbox": OUTBOX_RETENTION,
}


def group_of(generation: int) -> str:
    """The consumer group that fills a generation."""
    return f"sales-{generation}"


served_generation = select(generations.c.id).where(generations.c.state.in_(SERVED)).scalar_subquery()

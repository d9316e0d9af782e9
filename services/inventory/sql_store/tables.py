"""The tables of the service's own database."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, MetaData, Table, Text, text

from chassis.broker.outbox import OUTBOX_RETENTION, outbox_table
from chassis.database.database import UtcTime
from chassis.retention import MIGRATED, Kept, Retention

HELD = text("state = 'held' AND expires_at IS NOT NULL")
UNBOOKED = text("booked_at IS NULL")

metadata = MetaData()
stock = Table(
    "stock",
    metadata,
    Column("product_id", Text, primary_key=True),
    Column("received", BigInteger, nullable=False),
    Column("available", BigInteger, CheckConstraint("available >= 0"), nullable=False),
    Column("reserved", BigInteger, CheckConstraint("reserved >= 0"), nullable=False),
    Column("shipped", BigInteger, nullable=False),
    Column("erp_on_hand", BigInteger, nullable=False),
    Column("erp_as_of", UtcTime, nullable=False),
)
reservations = Table(
    "reservations",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    # The lines never change, so they are one value: [["42", 1], …].
    Column("lines", Text, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
    # When it is released automatically; null once confirmed or released on request.
    Column("expires_at", UtcTime),
    Index("reservations_expiring", "expires_at", sqlite_where=HELD, postgresql_where=HELD),
)
# Scanner counts: a repeat counts once; also the ERP's outbox until booked.
adjustments = Table(
    "adjustments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("product_id", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("counted_at", UtcTime, nullable=False),
    Column("booked_at", UtcTime),
    Index("adjustments_unbooked", "counted_at", sqlite_where=UNBOOKED, postgresql_where=UNBOOKED),
)
outbox = outbox_table(metadata)
RETENTION: Retention = {
    **MIGRATED,
    "stock": Kept("one row for each product"),
    "reservations": Kept(
        "a late request for an order that has ended must find it; the audit compares each with its order"
    ),
    "adjustments": Kept("a scanner may send a count again after any time, and it must count once"),
    "outbox": OUTBOX_RETENTION,
}

"""The tables of outgoing webhooks, and what both stores read of them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    UniqueConstraint,
    literal,
    select,
    tuple_,
)

from chassis.database.database import UtcTime
from chassis.retention import Deleted, Kept, Retention
from webhooks.outgoing.domain import Endpoint, OldSecret
from webhooks.outgoing.ports import Place

metadata = MetaData()
endpoints = Table(
    "endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("owner_id", Text, nullable=False),
    Column("sees_all", Boolean, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("disabled_reason", Text, nullable=False),
    Column("failing_since", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("paused_until", UtcTime),
    Column("old_secrets", Text, nullable=False),
)
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("endpoint_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("next_attempt_at", UtcTime),
    # When it came to an end; empty while it is to be sent.
    Column("settled_at", UtcTime),
    UniqueConstraint("endpoint_id", "event_id"),
)
attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("status_code", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("response", Text, nullable=False),
)
RETENTION: Retention = {
    "endpoints": Kept("their owners delete them; each owner has few"),
    "deliveries": Deleted("SHOP_WEBHOOKS_KEEP after they were delivered or given up, by webhooks.retention"),
    "delivery_attempts": Deleted("with their delivery"),
}


def newest(statement: Select[Any], table: Table, after: Place | None, size: int) -> Select[Any]:
    """The statement, newest first, from where the page before ended."""
    if after is not None:
        place = tuple_(literal(after[0], UtcTime), literal(after[1], Text))
        statement = statement.where(tuple_(table.c.created_at, table.c.id) < place)
    return statement.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(size)


def endpoint_by_id(connection: Connection, endpoint_id: str, *, locked: bool = False) -> Endpoint | None:
    """`locked`: no other transaction changes it before this one ends."""
    statement = select(endpoints).where(endpoints.c.id == endpoint_id)
    row = connection.execute(statement.with_for_update(key_share=True) if locked else statement).one_or_none()
    return endpoint_of(row) if row else None


def endpoint_of(row: Any) -> Endpoint:
    return Endpoint(
        id=row.id,
        owner_id=row.owner_id,
        sees_all=row.sees_all,
        url=row.url,
        event_types=json.loads(row.event_types),
        description=row.description,
        secret=row.secret,
        created_at=row.created_at,
        enabled=row.enabled,
        disabled_reason=row.disabled_reason,
        failing_since=row.failing_since,
        paused_until=row.paused_until,
        old_secrets=[
            OldSecret(old["secret"], datetime.fromisoformat(old["until"])) for old in json.loads(row.old_secrets)
        ],
    )

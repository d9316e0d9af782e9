"""The tables of outgoing webhooks, and what both stores read of them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chassis.database.database import UtcTime, item_of
from chassis.retention import Deleted, Kept, Retention
from webhooks.outgoing.domain import Endpoint, OldSecret

metadata = sa.MetaData()
endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("owner_id", sa.Text, nullable=False),
    sa.Column("sees_all", sa.Boolean, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("event_types", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("disabled_reason", sa.Text, nullable=False),
    sa.Column("failing_since", UtcTime),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("paused_until", UtcTime),
    sa.Column("old_secrets", sa.Text, nullable=False),
)
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("endpoint_id", sa.Text, nullable=False),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("event_type", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("traceparent", sa.Text, nullable=False),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retries", sa.Integer, nullable=False),
    sa.Column("next_attempt_at", UtcTime),
    # When it came to an end; empty while it is to be sent.
    sa.Column("settled_at", UtcTime),
    sa.UniqueConstraint("endpoint_id", "event_id"),
)
attempts = sa.Table(
    "delivery_attempts",
    metadata,
    sa.Column("delivery_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("duration_ms", sa.Integer, nullable=False),
    sa.Column("status_code", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
)
RETENTION: Retention = {
    "endpoints": Kept("their owners delete them; each owner has few"),
    "deliveries": Deleted("SHOP_WEBHOOKS_KEEP after they were delivered or given up, by webhooks.retention"),
    "delivery_attempts": Deleted("with their delivery"),
}


def endpoint_by_id(connection: sa.Connection, endpoint_id: str, *, locked: bool = False) -> Endpoint | None:
    """`locked`: no other transaction changes it before this one ends."""
    statement = sa.select(endpoints).where(endpoints.c.id == endpoint_id)
    row = connection.execute(statement.with_for_update(key_share=True) if locked else statement).one_or_none()
    return endpoint_of(row) if row else None


def endpoint_of(row: Any) -> Endpoint:
    old_secrets = [
        OldSecret(old["secret"], datetime.fromisoformat(old["until"])) for old in json.loads(row.old_secrets)
    ]
    return item_of(Endpoint, row, event_types=json.loads(row.event_types), old_secrets=old_secrets)

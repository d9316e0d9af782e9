"""A webhook's row is its own outbox and inbox; replays are audited; outgoing webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("published_at", _MOMENT))
    op.add_column("webhooks", sa.Column("replays", sa.Integer, nullable=False, server_default="0"))
    # What the outbox had published stays published; the rest is published from the row itself.
    op.execute(
        "UPDATE webhooks SET published_at = received_at WHERE NOT EXISTS"
        " (SELECT 1 FROM outbox WHERE outbox.event_id = webhooks.id AND outbox.published_at IS NULL)"
    )
    op.drop_table("outbox")
    unpublished = sa.text("published_at IS NULL")
    op.create_index(
        "webhooks_unpublished", "webhooks", ["received_at"], sqlite_where=unpublished, postgresql_where=unpublished
    )
    op.create_table(
        "webhook_replays",
        sa.Column("webhook_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    _outgoing()


def _outgoing() -> None:
    op.create_table(
        "endpoints",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner_id", sa.Text, nullable=False),
        sa.Column("sees_all", sa.Boolean, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("event_types", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("disabled_reason", sa.Text, nullable=False),
        sa.Column("failing_since", _MOMENT),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_index("endpoints_by_owner", "endpoints", ["owner_id", "created_at"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("endpoint_id", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", _MOMENT),
        sa.UniqueConstraint("endpoint_id", "event_id"),
    )
    op.create_index("deliveries_by_endpoint", "deliveries", ["endpoint_id", "created_at", "id"])
    pending = sa.text("next_attempt_at IS NOT NULL")
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["endpoint_id", "next_attempt_at"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("duration_ms", sa.Integer, nullable=False),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("response", sa.Text, nullable=False),
    )

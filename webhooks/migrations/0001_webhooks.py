"""Webhooks, outbox, inbox."""

import sqlalchemy as sa
from alembic import op

from chassis.broker.inbox import inbox_table
from chassis.broker.outbox import outbox_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("provider_event_id", sa.Text, nullable=False),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.UniqueConstraint("provider", "provider_event_id"),
    )
    op.create_index("webhooks_by_time", "webhooks", ["received_at"])
    chassis_tables = sa.MetaData()
    outbox_table(chassis_tables)
    inbox_table(chassis_tables)
    chassis_tables.create_all(op.get_bind())

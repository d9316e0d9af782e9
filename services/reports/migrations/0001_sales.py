"""Generations of figures, what is known of orders, the consumer groups, outbox."""

import sqlalchemy as sa
from alembic import op

from chassis.broker.groups.tables import group_tables
from chassis.broker.outbox import outbox_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "generations",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("upto", sa.Text, nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("placed", sa.Text, nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True)),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
    )
    op.create_index("orders_by_settling", "orders", ["settled_at"])
    op.create_table(
        "figures",
        sa.Column("generation", sa.Integer, primary_key=True),
        sa.Column("dimension", sa.Text, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("currency", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("orders", sa.BigInteger, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("revenue_minor", sa.BigInteger, nullable=False),
    )
    op.create_table("changed_days", sa.Column("day", sa.Date, primary_key=True))
    chassis_tables = sa.MetaData()
    outbox_table(chassis_tables)
    group_tables(chassis_tables)
    chassis_tables.create_all(op.get_bind())

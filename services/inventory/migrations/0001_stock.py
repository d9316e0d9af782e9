"""Stock, reservations, outbox, inbox."""

import sqlalchemy as sa
from alembic import op

from chassis.broker.inbox import inbox_table
from chassis.broker.outbox import outbox_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "stock",
        sa.Column("product_id", sa.Text, primary_key=True),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("available", sa.BigInteger, sa.CheckConstraint("available >= 0"), nullable=False),
        sa.Column("reserved", sa.BigInteger, sa.CheckConstraint("reserved >= 0"), nullable=False),
        sa.Column("shipped", sa.BigInteger, nullable=False),
        sa.Column("erp_on_hand", sa.BigInteger, nullable=False),
        sa.Column("erp_as_of", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "reservations",
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
    chassis_tables = sa.MetaData()
    outbox_table(chassis_tables)
    inbox_table(chassis_tables)
    chassis_tables.create_all(op.get_bind())

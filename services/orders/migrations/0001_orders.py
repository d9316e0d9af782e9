"""Orders and their outbox, which is their history too."""

import sqlalchemy as sa
from alembic import op

from chassis.broker.outbox import outbox_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("status_reason", sa.Text, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sa.Column("total_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("delivered", sa.Boolean, nullable=False),
        sa.Column("demo", sa.Boolean, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("fingerprint", sa.Text, nullable=False),
    )
    op.create_index("orders_by_user", "orders", ["user_id", "placed_at", "id"])
    op.create_index("orders_by_key", "orders", ["user_id", "idempotency_key"], unique=True)
    chassis_tables = sa.MetaData()
    outbox_table(chassis_tables)
    chassis_tables.create_all(op.get_bind())
    op.create_index("outbox_by_subject", "outbox", ["subject", "position"])

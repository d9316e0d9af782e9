"""The modern ERP's tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "articles",
        sa.Column("product_id", sa.Text, primary_key=True),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sales_orders",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("order_id", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("ships_on", sa.Date),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "receipts",
        sa.Column("receipt_id", sa.Text, primary_key=True),
        sa.Column("product_id", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
    )

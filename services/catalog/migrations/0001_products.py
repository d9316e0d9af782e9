"""Products, outbox, inbox."""

import sqlalchemy as sa
from alembic import op

from chassis.broker.inbox import inbox_table
from chassis.broker.outbox import outbox_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("image_url", sa.Text, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
    )
    op.create_index("products_by_category", "products", ["category", "id"])
    chassis_tables = sa.MetaData()
    outbox_table(chassis_tables)
    inbox_table(chassis_tables)
    chassis_tables.create_all(op.get_bind())

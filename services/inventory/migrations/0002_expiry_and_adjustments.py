"""Reservations expire; adjustments are kept until the ERP has booked them, and take the inbox's place."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    held = sa.text("state = 'held' AND expires_at IS NOT NULL")
    unbooked = sa.text("booked_at IS NULL")
    op.add_column("reservations", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.create_index("reservations_expiring", "reservations", ["expires_at"], sqlite_where=held, postgresql_where=held)
    op.create_table(
        "adjustments",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("product_id", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("booked_at", sa.DateTime(timezone=True)),
    )
    op.create_index(
        "adjustments_unbooked", "adjustments", ["counted_at"], sqlite_where=unbooked, postgresql_where=unbooked
    )
    # Of earlier ones only the ids are stored. They were never sent to the ERP, and cannot be now.
    op.execute(
        "INSERT INTO adjustments (id, product_id, quantity, counted_at, booked_at)"
        " SELECT event_id, '', 0, handled_at, handled_at FROM inbox WHERE consumer = 'sync-stock'"
    )
    op.drop_table("inbox")

"""Deliveries are forgotten after a time; endpoints pause, and their secrets can be replaced."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("paused_until", _MOMENT))
    op.add_column("endpoints", sa.Column("old_secrets", sa.Text, nullable=False, server_default="[]"))
    op.add_column("deliveries", sa.Column("settled_at", _MOMENT))
    op.execute("UPDATE deliveries SET settled_at = created_at WHERE next_attempt_at IS NULL")
    settled = sa.text("settled_at IS NOT NULL")
    op.create_index("deliveries_settled", "deliveries", ["settled_at"], sqlite_where=settled, postgresql_where=settled)

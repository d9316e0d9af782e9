"""The orders that wait for their first step are found without reading all others."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_WAITING = sa.text("status = 'pending' AND status_reason = ''")


def upgrade() -> None:
    op.create_index(
        "orders_waiting", "orders", ["user_id", "placed_at"], sqlite_where=_WAITING, postgresql_where=_WAITING
    )

"""An order whose first attempt has failed waits no longer for its first step."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_WAITING = sa.text("status = 'pending' AND status_reason = '' AND NOT tried")


def upgrade() -> None:
    op.add_column("orders", sa.Column("tried", sa.Boolean, nullable=False, server_default=sa.false()))
    op.drop_index("orders_waiting", "orders")
    op.create_index(
        "orders_waiting", "orders", ["user_id", "placed_at"], sqlite_where=_WAITING, postgresql_where=_WAITING
    )

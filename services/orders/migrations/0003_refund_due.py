"""Orders record a payment that was collected after they had ended, so that its refund is begun once."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("orders", sa.Column("refund_due", sa.Text, nullable=False, server_default=""))

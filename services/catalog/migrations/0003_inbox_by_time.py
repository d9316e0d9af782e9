"""The inbox by the time of its rows, by which it is pruned."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Where 0001 makes the table as today's schema has it, the index is there.
    op.create_index("inbox_by_time", "inbox", ["handled_at"], if_not_exists=True)

"""Finds the files of a content."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_index("ix_files_sha256", "files", ["sha256"])

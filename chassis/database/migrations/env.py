"""Alembic's environment, the same for every service: run the revisions on the connection that was handed in."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"], target_metadata=None, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()

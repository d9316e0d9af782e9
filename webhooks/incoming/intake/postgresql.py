"""The intake on PostgreSQL: one statement, so one round trip and one commit, for everything that waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from chassis.database.batching import Batcher
from webhooks.incoming.domain import Webhook
from webhooks.incoming.intake.bounds import BATCH_SIZE, answered, values_of

_TIMEOUT = 4.0
# One array for each column: the same statement, prepared once, for a group of any size.
_INSERT = """
INSERT INTO webhooks (id, provider, provider_event_id, event_type, body, headers, received_at, traceparent,
    status, attempts, error, replays)
SELECT *, 'received', 0, '', 0 FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::timestamptz[], $8::text[])
ON CONFLICT DO NOTHING RETURNING id
"""


class PostgresqlIntake:
    def __init__(self, pool: Any) -> None:
        """`pool` is asyncpg's."""
        self._pool = pool
        self._adding = Batcher(self._add_together, batch_size=BATCH_SIZE)

    async def add(self, webhook: Webhook) -> bool:
        return await answered(self._adding.submit(webhook), asyncpg.PostgresError, asyncpg.InterfaceError)

    async def healthy(self) -> bool:
        try:
            await self._pool.fetchval("SELECT id FROM webhooks LIMIT 1")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False
        return True

    async def _add_together(self, group: Sequence[Webhook]) -> list[bool]:
        # Always in the same order: two copies of this process that insert the same events cannot block each other.
        ordered = sorted(group, key=lambda webhook: (webhook.provider, webhook.provider_event_id))
        columns = zip(*(values_of(webhook, webhook.received_at) for webhook in ordered), strict=True)
        new = {row[0] for row in await self._pool.fetch(_INSERT, *columns)}
        return [webhook.id in new for webhook in group]


@asynccontextmanager
async def postgresql_intake(url: str) -> AsyncIterator[PostgresqlIntake]:
    """The intake of the database at `url`."""
    async with asyncpg.create_pool(
        url, min_size=1, max_size=2, timeout=5, command_timeout=_TIMEOUT, reset=_nothing_to_reset
    ) as pool:
        yield PostgresqlIntake(pool)


async def _nothing_to_reset(connection: Any) -> None:
    """Each statement stands alone: none leaves a lock, a setting or a cursor, which asyncpg undoes by four others."""

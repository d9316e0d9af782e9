"""Retention: deletes finished webhooks and deliveries after a period, in small batches."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from chassis import wall_clock
from chassis.background import forever, in_batches
from chassis.database.database import Database

log = logging.getLogger(__name__)

# Deletes up to so many records that ended before a time; returns how many.
DeleteExpired = Callable[[datetime, int], Awaitable[int]]

# Small: a webhook received meanwhile waits for one batch at most.
_BATCH = 200


class Retention:
    def __init__(self, database: Database, *steps: DeleteExpired, keep: timedelta, every: timedelta) -> None:
        """`keep`: how long what is over stays; `every`: the time between two rounds."""
        self._database = database
        self._steps = steps
        self._keep = keep
        self._every = every

    async def run(self) -> None:
        """Delete as long as the process lives; one process at a time."""

        async def once() -> None:
            await self.delete_expired(wall_clock.now())

        deleting = partial(self._database.if_alone, "retention", once)
        await forever(deleting, name="webhook retention", every=self._every.total_seconds())

    async def delete_expired(self, now: datetime) -> int:
        """Delete every record that ended longer ago than the retention period; returns their number."""
        deleted = 0
        for step in self._steps:
            deleted += await in_batches(partial(step, now - self._keep, _BATCH), size=_BATCH)
        if deleted:
            log.info("deleted expired webhooks", extra={"count": deleted, "keep_days": self._keep.days})
        return deleted

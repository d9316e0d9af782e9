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
Forget = Callable[[datetime, int], Awaitable[int]]

# Small: a webhook received meanwhile waits for one batch at most.
_BATCH = 200


class Retention:
    def __init__(self, database: Database, *forget: Forget, keep: timedelta, every: timedelta) -> None:
        """`keep`: how long what is over stays; `every`: the time between two rounds."""
        self._database = database
        self._forget = forget
        self._keep = keep
        self._every = every

    async def run(self) -> None:
        """Forget as long as the process lives; one process at a time."""

        async def once() -> None:
            await self.forget(wall_clock.now())

        forgetting = partial(self._database.if_alone, "retention", once)
        await forever(forgetting, name="webhook retention", every=self._every.total_seconds())

    async def forget(self, now: datetime) -> int:
        """Delete every record that ended longer ago than the retention period; returns their number."""
        forgotten = 0
        for step in self._forget:
            forgotten += await in_batches(partial(step, now - self._keep, _BATCH), size=_BATCH)
        if forgotten:
            log.info("deleted expired webhooks", extra={"count": forgotten, "keep_days": self._keep.days})
        return forgotten

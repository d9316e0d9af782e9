"""Retention: deletes finished webhooks and deliveries after a period, in small batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from chassis import wall_clock
from chassis.background import forever
from chassis.database.database import Database

log = logging.getLogger(__name__)

# Deletes up to so many records that ended before a time; returns how many.
Forget = Callable[[datetime, int], Awaitable[int]]

# Small, and with a pause after each: a webhook received meanwhile waits for one batch at most.
_BATCH = 200
_PAUSE_SECONDS = 0.05


class Retention:
    def __init__(self, database: Database, *forget: Forget, keep: timedelta, every: timedelta) -> None:
        """`keep`: how long what is over stays; `every`: the time between two rounds."""
        self._database = database
        self._forget = forget
        self._keep = keep
        self._every = every

    async def run(self) -> None:
        """Forget as long as the process lives; one process at a time."""
        await forever(self._round, name="webhook retention", every=self._every.total_seconds())

    async def _round(self) -> None:
        async with self._database.try_lock("retention") as alone:
            if alone:
                await self.forget(wall_clock.now())

    async def forget(self, now: datetime) -> int:
        """Delete every record that ended longer ago than the retention period; returns their number."""
        forgotten = 0
        for step in self._forget:
            found = _BATCH
            while found == _BATCH:
                found = await step(now - self._keep, _BATCH)
                forgotten += found
                await asyncio.sleep(_PAUSE_SECONDS)
        if forgotten:
            log.info("deleted expired webhooks", extra={"count": forgotten, "keep_days": self._keep.days})
        return forgotten

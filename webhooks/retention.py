"""Forgets what has been over for long enough, a little at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from chassis.database import DATABASE_ERRORS, Database

log = logging.getLogger(__name__)

# Forgets up to so many things that were over before a moment; how many it found.
Forget = Callable[[datetime, int], Awaitable[int]]

# Small, and with a pause after each: whoever receives meanwhile waits for one batch at most.
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
        while True:
            try:
                async with self._database.exclusively("retention") as alone:
                    if alone:
                        await self.forget(datetime.now(UTC))
            except DATABASE_ERRORS as error:
                log.warning("what is over has to stay a while longer", extra={"reason": str(error)})
            await asyncio.sleep(self._every.total_seconds())

    async def forget(self, now: datetime) -> int:
        """One round: everything that is over for long enough; how much it was."""
        forgotten = 0
        for step in self._forget:
            found = _BATCH
            while found == _BATCH:
                found = await step(now - self._keep, _BATCH)
                forgotten += found
                await asyncio.sleep(_PAUSE_SECONDS)
        if forgotten:
            log.info("forgotten", extra={"count": forgotten, "keep_days": self._keep.days})
        return forgotten

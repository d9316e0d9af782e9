"""Garbage collection: contents that no file refers to are deleted."""

from __future__ import annotations

import logging

from chassis.background import forever
from services.storage.use_cases import Storage

log = logging.getLogger(__name__)

_EVERY_SECONDS = 3600.0
_MAX_PAUSE = 300.0


async def sweep(storage: Storage) -> None:
    """Remove contents whose process died before recording a file: at the start, then once an hour."""

    async def step() -> None:
        swept = await storage.sweep()
        if swept:
            log.info("storage: unreferenced contents deleted", extra={"count": swept})

    await forever(step, name="content sweep", every=_EVERY_SECONDS, max_pause=_MAX_PAUSE)

"""What storage does by itself."""

from __future__ import annotations

import asyncio
import logging

from chassis.database import DATABASE_ERRORS
from services.storage.use_cases import Storage

log = logging.getLogger(__name__)

_EVERY_SECONDS = 3600.0


async def sweep(storage: Storage) -> None:
    """Remove what somebody kept and died before making it known: at the start, then once an hour."""
    while True:
        try:
            swept = await storage.sweep()
            if swept:
                log.info("removed contents that no file has", extra={"count": swept})
        except DATABASE_ERRORS as error:
            log.warning("contents could not be swept", extra={"reason": str(error)})
        await asyncio.sleep(_EVERY_SECONDS)

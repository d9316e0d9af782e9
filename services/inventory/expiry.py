"""Expiry of reservations that were not confirmed in time."""

from __future__ import annotations

import logging

from chassis.background import forever
from services.inventory.use_cases import Inventory

log = logging.getLogger(__name__)

_MAX_SWEEP_SECONDS = 10.0


async def expire_reservations(inventory: Inventory, ttl: float) -> None:
    """Release reservations older than `ttl` seconds that are not confirmed, as long as the process lives."""

    async def expire() -> None:
        if expired := await inventory.expire():
            log.info("inventory: reservations expired", extra={"count": expired})

    await forever(expire, name="reservation expiry", every=min(ttl / 4, _MAX_SWEEP_SECONDS))

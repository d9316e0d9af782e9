"""The intake: one durable insert for each group of webhooks that are waiting, on SQLite or PostgreSQL.

Not by SQLAlchemy: its 0.6 ms for a statement would be most of what a request takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager

from chassis.errors import Kind, ShopError
from webhooks.ports import Intake

log = logging.getLogger(__name__)

# What one statement keeps at most.
LARGEST = 128

_PATIENCE = 5.0
_MAX_REASON = 500


def open_intake(url: str) -> AbstractAsyncContextManager[Intake]:
    """The intake of the database at `url` (sqlite:///PATH or postgresql://…), whose schema is up to date."""
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite":
        from webhooks.intake.sqlite import sqlite_intake

        return sqlite_intake(path)
    from webhooks.intake.postgresql import postgresql_intake

    return postgresql_intake(url)


async def answered(answer: Awaitable[bool], *failures: type[Exception]) -> bool:
    """The store's answer. Raises STORE_UNAVAILABLE for these failures, and when there is no answer in 5 s.

    A plain function: as a context manager it would cost as much as the rest of handing a webhook over.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            return await answer
    except Exception as error:
        if not isinstance(error, (OSError, *failures)):  # a TimeoutError is an OSError
            raise
        reason = f"{type(error).__name__}: {error}"[:_MAX_REASON]
        log.warning("the webhook store does not answer", extra={"reason": reason})
        message = "webhooks cannot be stored now"
        raise ShopError("STORE_UNAVAILABLE", message, Kind.UNAVAILABLE, retry_after=5) from error

"""The limits of both intakes, batch size and answer time, and the values of a row."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

import orjson

from chassis.errors import Kind, ShopError
from webhooks.incoming.domain import Webhook

log = logging.getLogger(__name__)

# Webhooks that one statement stores at most.
BATCH_SIZE = 128

_TIMEOUT = 5.0
_MAX_REASON = 500


async def answered(answer: Awaitable[bool], *failures: type[Exception]) -> bool:
    """The store's answer. Raises STORE_UNAVAILABLE for these failures, and when there is no answer in 5 s.

    A plain function: as a context manager it would cost as much as the rest of handing a webhook over.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await answer
    except Exception as error:
        if not isinstance(error, (OSError, *failures)):  # a TimeoutError is an OSError
            raise
        reason = f"{type(error).__name__}: {error}"[:_MAX_REASON]
        log.warning("webhook store unavailable", extra={"reason": reason})
        message = "webhooks cannot be stored now"
        raise ShopError("STORE_UNAVAILABLE", message, Kind.UNAVAILABLE, retry_after=5) from error


def values_of(webhook: Webhook, received_at: object) -> tuple[object, ...]:
    """The columns of a webhook's row that are its own, in the order of both intakes' statements.

    `received_at`: its time, as the database's driver takes one.
    """
    return (
        webhook.id,
        webhook.provider,
        webhook.provider_event_id,
        webhook.event_type,
        webhook.body,
        orjson.dumps(webhook.headers).decode(),
        received_at,
        webhook.traceparent,
    )

"""Posts webhooks to the shop, well or badly behaved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx

from partners.senders import Fault, SignedWebhook

_TIMEOUT = 30.0
_CONNECTIONS = 32
_SLOW_PIECES = 10


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 when there was none; `text` is the answer's body, or why there is none."""

    status: int
    text: str


async def post_all(
    webhooks_url: str, webhooks: Sequence[SignedWebhook], *, fault: Fault | None = None, slow_seconds: float = 3.0
) -> list[Answer]:
    """Send webhooks in this order, one after the other; the answers in the same order.

    A flood is sent over 32 connections at once; what is slow takes `slow_seconds` for its body.
    """
    limits = httpx.Limits(max_connections=_CONNECTIONS)
    gate = asyncio.Semaphore(_CONNECTIONS if fault is Fault.FLOOD else 1)
    pause = slow_seconds / _SLOW_PIECES if fault is Fault.SLOW else 0.0
    async with httpx.AsyncClient(base_url=webhooks_url, timeout=_TIMEOUT, limits=limits, trust_env=False) as client:

        async def post(webhook: SignedWebhook) -> Answer:
            async with gate:
                return await _post(client, webhook, pause)

        return await asyncio.gather(*map(post, webhooks))


async def _post(client: httpx.AsyncClient, webhook: SignedWebhook, pause: float) -> Answer:
    content = _trickle(webhook.body, pause) if pause else webhook.body
    try:
        response = await client.post(f"/webhooks/{webhook.provider}", content=content, headers=webhook.headers)
    except httpx.TransportError as error:
        return Answer(0, str(error) or type(error).__name__)
    return Answer(response.status_code, response.text)


async def _trickle(body: bytes, pause: float) -> AsyncIterator[bytes]:
    size = -(-len(body) // _SLOW_PIECES)
    for start in range(0, len(body), size):
        yield body[start : start + size]
        await asyncio.sleep(pause)

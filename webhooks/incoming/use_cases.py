"""Receiving a webhook, processing it, and replaying it: three jobs, with the store and a queue in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from chassis import wall_clock
from chassis.errors import Kind, ShopError, not_found
from webhooks.incoming.domain import PROVIDERS, Headers, Outcome, Status, Webhook, name_event, parse
from webhooks.incoming.handlers import HANDLERS
from webhooks.incoming.ports import Intake, Shop, WebhookStore


class Receiving:
    """Receiving: verify and store before the provider gets its answer, nothing else."""

    def __init__(
        self,
        intake: Intake,
        keys: Mapping[str, Sequence[bytes]],
        new_id: Callable[[float], str],
        *,
        clock: Callable[[], float] = wall_clock.seconds,
    ) -> None:
        """`keys`: provider -> its keys, the ones being rotated out included.

        `new_id`: makes the id of a webhook that was received at a time, in seconds since the epoch.
        """
        self._intake = intake
        self._keys = keys
        self._new_id = new_id
        self._clock = clock

    async def receive(self, provider_name: str, headers: Headers, body: bytes, *, traceparent: str = "") -> bool:
        """Keep an authentic webhook; False when we had it already.

        Raises NOT_FOUND for an unknown provider, MALFORMED_SIGNATURE, BAD_SIGNATURE, STALE_SIGNATURE,
        MALFORMED_WEBHOOK or STORE_UNAVAILABLE.
        """
        provider, keys = PROVIDERS.get(provider_name), self._keys.get(provider_name)
        if provider is None or not keys:
            raise not_found("webhook provider", provider_name)
        now = self._clock()
        # First the signature: what a stranger sends is not even parsed.
        provider.verify(body, headers, keys, now)
        event = name_event(provider, parse(body), headers)
        webhook = Webhook(
            id=self._new_id(now),
            provider=provider_name,
            provider_event_id=event.id,
            event_type=event.type,
            body=body,
            headers=headers,
            received_at=datetime.fromtimestamp(now, UTC),
            traceparent=traceparent,
        )
        return await self._intake.add(webhook)


class Processing:
    """Processing after the answer, at its own pace."""

    def __init__(self, store: WebhookStore, shop: Shop) -> None:
        self._store = store
        self._shop = shop

    async def process(self, webhook_id: str) -> None:
        """Apply a stored webhook's effect once; a processed one is skipped.

        Raises what the upstream answered, or UNUSABLE_WEBHOOK; the store then shows the webhook as failed.
        """
        webhook = await self._store.get(webhook_id)
        if webhook is None:
            raise not_found("webhook", webhook_id)
        if webhook.status is Status.PROCESSED:
            return
        try:
            outcome = await self._apply(webhook)
        except Exception as error:
            await self._store.mark_failed(webhook_id, str(error) or type(error).__name__)
            raise
        await self._store.mark_processed(webhook, outcome)

    async def _apply(self, webhook: Webhook) -> Outcome:
        handler = HANDLERS.get((webhook.provider, webhook.event_type))
        if handler is None:
            return Outcome.IGNORED
        await handler(webhook, parse(webhook.body), self._shop)
        return Outcome.APPLIED


# Error codes of orders for an event that arrived before its order was ready.
_EARLY = frozenset({"ORDER_NOT_CONFIRMED", "ORDER_NOT_SHIPPED"})


def is_permanent(error: ShopError) -> bool:
    """Whether a retry cannot succeed."""
    return error.kind in {Kind.INVALID, Kind.NOT_FOUND}


def is_early(error: ShopError) -> bool:
    """Whether the webhook waits for something else to happen to its order first."""
    return error.code in _EARLY

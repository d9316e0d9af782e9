"""The ports of the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from chassis.pagination import Place
from webhooks.incoming.domain import Outcome, Page, Replay, Selection, Webhook


class Intake(Protocol):
    """The store of received webhooks, written before they are acknowledged."""

    async def add(self, webhook: Webhook) -> bool:
        """Keep a webhook, durably: it survives the process and the machine once this returns.

        False when the provider's event is there already. Raises STORE_UNAVAILABLE.
        """

    async def healthy(self) -> bool:
        """Whether webhooks can be kept now."""


class WebhookStore(Protocol):
    """The same rows, for everything that happens to them afterwards. A row is its own outbox and its own inbox."""

    async def get(self, webhook_id: str) -> Webhook | None: ...

    async def mark_processed(self, webhook: Webhook, outcome: Outcome) -> None:
        """Record the outcome. What was processed before, or replayed since it was read, stays as it is."""

    async def mark_failed(self, webhook_id: str, error: str) -> None:
        """Record that an attempt has failed. What has been processed stays so."""

    async def unpublished(self, limit: int) -> list[Webhook]:
        """The oldest webhooks whose `webhook.received` has not been published yet, without bodies and headers."""

    async def mark_published(self, webhooks: Sequence[Webhook]) -> None:
        """Their events are with the broker."""

    async def page(self, selection: Selection, *, after: Place | None, size: int) -> Page:
        """Newest first, from where the page before ended, without bodies and headers."""

    async def records(self, with_bodies_of: str, *, after: Place | None, size: int) -> list[tuple[Webhook, bool]]:
        """Webhooks, newest first, each with whether it has been published; one provider's with bodies up to 64 KiB."""

    async def replays(self, webhook_id: str) -> list[Replay]:
        """Replays of a webhook and their callers, oldest first."""

    async def replay(self, webhook_ids: Sequence[str], *, by: str, reason: str, at: datetime) -> list[Webhook]:
        """Make webhooks unpublished and unprocessed again and record who requested it, together.

        Returns them as they were, without bodies and headers; unknown ids are left out.
        """

    async def delete_expired(self, before: datetime, limit: int) -> int:
        """Delete up to so many that are processed and were last published before this time; how many.

        Their audit goes with them. What has failed stays: it waits for a person.
        """


class Shop(Protocol):
    """Effects of partners' events. Each may be repeated: the upstream recognizes it."""

    async def mark_paid(self, order_id: str, payment_id: str) -> None: ...

    async def mark_payment_failed(self, order_id: str, payment_id: str, reason: str) -> None: ...

    async def place_channel_order(self, channel: str, channel_order_id: str, items: Sequence[tuple[str, int]]) -> None:
        """`items` are product ids and quantities."""

    async def refresh_material(self, product_id: str, event_id: str, refreshed_at: datetime) -> None: ...

    async def record_delivery(self, order_id: str, carrier: str, delivered_at: datetime) -> None: ...

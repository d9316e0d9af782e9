"""Records for the audit: every stored webhook with its payment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis import wall_clock
from chassis.errors import ShopError
from chassis.pagination import Place
from webhooks.incoming.domain import Webhook, parse
from webhooks.incoming.ports import WebhookStore

PAYMENT_PROVIDER = "stripe"


@dataclass(frozen=True, slots=True)
class PaymentNews:
    """A payment in a provider's webhook; `amount` is in minor units, `currency` in lower case."""

    order_id: str
    payment_id: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class WebhookRecord:
    """`webhook` has a body only where it is about a payment; `published`: its webhook.received is with the broker."""

    webhook: Webhook
    published: bool
    payment: PaymentNews | None = None


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Records, newest first; where the next page begins; since when nothing has been deleted."""

    records: Sequence[WebhookRecord]
    next: Place | None
    complete_since: datetime


class Records:
    def __init__(self, store: WebhookStore, keep: timedelta) -> None:
        """`keep`: the retention of what has been processed."""
        self._store = store
        self._keep = keep

    async def page(self, *, after: Place | None, size: int) -> RecordPage:
        since = wall_clock.now() - self._keep
        found = await self._store.records(PAYMENT_PROVIDER, after=after, size=size + 1)
        page = [WebhookRecord(webhook, published, payment_news(webhook)) for webhook, published in found[:size]]
        last = page[-1].webhook if len(found) > size else None
        return RecordPage(page, (last.received_at, last.id) if last else None, since)


def payment_news(webhook: Webhook) -> PaymentNews | None:
    """The payment of a webhook; None where its body is missing or about something else."""
    if not (webhook.body and webhook.event_type.startswith("payment_intent.")):
        return None
    try:
        payload = parse(webhook.body)
    except ShopError:
        return None  # it cannot be processed either, and its failure has the reason
    data = payload.get("data")
    intent = data.get("object") if isinstance(data, dict) else None
    if not isinstance(intent, dict):
        return None
    metadata = intent.get("metadata")
    order_id = metadata.get("order_id") if isinstance(metadata, dict) else ""
    amount = intent.get("amount")
    known = amount if isinstance(amount, int) and abs(amount) < 1 << 62 else 0
    return PaymentNews(str(order_id or ""), str(intent.get("id") or ""), known, str(intent.get("currency") or ""))

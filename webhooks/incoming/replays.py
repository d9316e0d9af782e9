"""Looking at what was received, and having it processed again: for admins, and written down."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from chassis import wall_clock
from chassis.auth.identity import Principal
from chassis.broker.port import Broker, BrokerUnavailable
from chassis.errors import invalid, not_found
from chassis.pagination import Place
from webhooks.incoming.domain import PROVIDERS, Page, Replay, Selection, Status, Webhook
from webhooks.incoming.ports import WebhookStore

log = logging.getLogger(__name__)

MAX_REPLAYS = 500
_MAX_REASON = 500


class Replays:
    def __init__(self, store: WebhookStore, broker: Broker, queue: str) -> None:
        """`queue`: the work queue among whose dead letters a webhook may lie."""
        self._store = store
        self._broker = broker
        self._queue = queue

    async def page(self, selection: Selection, *, after: Place | None, size: int) -> Page:
        """Raises INVALID_INPUT for an unknown provider."""
        _check(selection)
        return await self._store.page(selection, after=after, size=size)

    async def show(self, webhook_id: str) -> tuple[Webhook, list[Replay]]:
        """A webhook and who has had it replayed. Raises NOT_FOUND."""
        webhook = await self._store.get(webhook_id)
        if webhook is None:
            raise not_found("webhook", webhook_id)
        return webhook, await self._store.replays(webhook_id)

    async def replay(self, ids: Sequence[str], caller: Principal, reason: str) -> list[Webhook]:
        """Have these processed again, processed or not. Raises INVALID_INPUT, or NOT_FOUND for the first unknown."""
        if not 0 < len(ids) <= MAX_REPLAYS:
            raise invalid(f"replay must have 1 to {MAX_REPLAYS} webhooks", ids=f"must be 1 to {MAX_REPLAYS}")
        if len(reason) > _MAX_REASON or "\0" in reason:
            raise invalid("invalid reason", reason=f"must be a text of at most {_MAX_REASON} characters")
        for webhook_id in ids:
            if await self._store.get(webhook_id) is None:
                raise not_found("webhook", webhook_id)
        return await self._replay(ids, caller, reason)

    async def replay_selected(self, selection: Selection, caller: Principal, reason: str) -> tuple[list[Webhook], bool]:
        """Have the newest 500 of a selection processed again; whether there are more of them."""
        page = await self.page(selection, after=None, size=MAX_REPLAYS)
        if not page.webhooks:
            return [], False
        replayed = await self.replay([webhook.id for webhook in page.webhooks], caller, reason)
        return replayed, page.next is not None

    async def _replay(self, ids: Sequence[str], caller: Principal, reason: str) -> list[Webhook]:
        before = await self._store.replay(ids, by=caller.subject, reason=reason, at=wall_clock.now())
        for webhook in before:
            if webhook.status is Status.FAILED:
                await self._drop_dead_letter(webhook.announcement_id)
        log.info("webhooks replayed", extra={"count": len(before), "by": caller.subject, "reason": reason})
        return before

    async def _drop_dead_letter(self, event_id: str) -> None:
        try:
            await self._broker.drop_dead_letters(self._queue, {event_id})
        except BrokerUnavailable as error:
            # Left where it is, it does no harm: put back into the queue, it finds the webhook processed.
            log.warning("dead letter not removed", extra={"event": event_id, "reason": str(error)})


def _check(selection: Selection) -> None:
    if selection.provider and selection.provider not in PROVIDERS:
        raise invalid("unknown provider", provider=f"must be one of {', '.join(PROVIDERS)}")

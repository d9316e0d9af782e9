"""Publishes `webhook.received` for each row that has not been published: the row is its own outbox.

Like `chassis.broker.outbox`, at least once and one relay at a time; but the events are derived from the rows, so that
the intake writes nothing beside them, and a batch is published at once, since no two of them share a subject.
"""

from __future__ import annotations

import asyncio

from google.protobuf.json_format import MessageToJson

from chassis.background import forever
from chassis.broker.port import Broker, Event
from chassis.database.database import Database
from protos.shop.events.v1.events_pb2 import WebhookReceived
from webhooks.incoming.domain import Webhook
from webhooks.incoming.ports import WebhookStore

_TYPE = "webhook.received"
_BATCH = 200
# The intake is another process, so nothing wakes this one.
_POLL_SECONDS = 0.1
_TRY_SECONDS = 0.5
_MAX_PAUSE = 2.0


class Relay:
    def __init__(self, store: WebhookStore, database: Database, broker: Broker) -> None:
        self._store = store
        self._database = database
        self._broker = broker

    async def run(self) -> None:
        """Publish what is pending, as long as the process lives; while another process does so, wait until it stops."""
        await forever(self._relay, name="webhook relay", every=_TRY_SECONDS, max_pause=_MAX_PAUSE)

    async def _relay(self) -> None:
        async with self._database.try_lock("relay") as alone:
            seen: int | None = None
            while alone:
                # Read before the query: a write during the query gives another version, so the next round looks again.
                version = self._database.version()
                changed = version is None or version != seen
                if changed and await self._relay_batch() == _BATCH:
                    continue
                seen = version
                await asyncio.sleep(_POLL_SECONDS)

    async def _relay_batch(self) -> int:
        webhooks = await self._store.unpublished(_BATCH)
        if webhooks:
            await self._broker.publish([_event(webhook) for webhook in webhooks])
            await self._store.mark_published(webhooks)
        return len(webhooks)


def _event(webhook: Webhook) -> Event:
    """The event of a webhook, which carries the trace of its request."""
    payload = WebhookReceived(
        webhook_id=webhook.id,
        provider=webhook.provider,
        provider_event_id=webhook.provider_event_id,
        event_type=webhook.event_type,
    )
    data = MessageToJson(payload, preserving_proto_field_name=True, indent=None).encode()
    trace = {"traceparent": webhook.traceparent}
    return Event(webhook.announcement_id, _TYPE, "/webhooks", webhook.id, webhook.received_at, data, trace)

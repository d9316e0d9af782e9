"""The queue `webhook-processing`: parse, call one use case, mark permanent failures."""

from __future__ import annotations

from google.protobuf.json_format import Parse, ParseError

from chassis.broker.consumer import NotYet, PermanentFailure
from chassis.broker.port import Event
from chassis.errors import ShopError
from protos.shop.events.v1.events_pb2 import WebhookReceived
from webhooks.incoming.use_cases import Processing, is_early, is_permanent

QUEUE = "webhook-processing"


class WebhookConsumer:
    def __init__(self, processing: Processing) -> None:
        self._processing = processing

    async def handle(self, event: Event) -> None:
        try:
            payload = Parse(event.data, WebhookReceived(), ignore_unknown_fields=True)
        except ParseError as error:
            raise PermanentFailure(f"not a webhook.received: {error}") from error
        try:
            await self._processing.process(payload.webhook_id)
        except ShopError as error:
            if is_permanent(error):
                raise PermanentFailure(str(error)) from error
            if is_early(error):
                raise NotYet(str(error)) from error
            raise

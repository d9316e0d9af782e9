"""The queue `webhook-delivery`: each event of an order becomes one row for each endpoint that it concerns."""

from __future__ import annotations

from collections.abc import Callable

from chassis.broker.consumer import PermanentFailure
from chassis.broker.port import Event
from webhooks.outgoing.domain import payload
from webhooks.outgoing.ports import DeliveryStore


class FanOut:
    def __init__(self, deliveries: DeliveryStore, wake: Callable[[], None]) -> None:
        """`wake` is called when something is due."""
        self._deliveries = deliveries
        self._wake = wake

    async def handle(self, event: Event) -> None:
        try:
            body = payload(event.type, event.time, event.data)
        except ValueError as error:
            raise PermanentFailure(f"not the JSON of an {event.type}: {error}") from error
        if await self._deliveries.fan_out(event, event.extensions.get("userid", ""), body):
            self._wake()

"""The queue `order-mail`: parse, call one use case, mark permanent failures."""

from __future__ import annotations

from google.protobuf.json_format import Parse, ParseError

from chassis.broker.consumer import PermanentFailure
from chassis.broker.port import Event
from chassis.errors import Kind, ShopError
from protos.shop.events.v1.events_pb2 import OrderConfirmed, OrderDelayed, OrderRejected, OrderShipped
from services.mailer.domain import News
from services.mailer.use_cases import OrderMails

QUEUE = "order-mail"

_PERMANENT = frozenset({Kind.INVALID, Kind.NOT_FOUND})


class OrderMailConsumer:
    def __init__(self, mails: OrderMails) -> None:
        self._mails = mails

    async def handle(self, event: Event) -> None:
        try:
            await self._mails.send_mail_about(_news(event))
        except ShopError as error:
            if error.kind in _PERMANENT:
                raise PermanentFailure(str(error)) from error
            raise


def _news(event: Event) -> News:
    """The event as mailer's `News`. Raises `PermanentFailure` if it cannot be one."""
    kind = event.type.removeprefix("order.")
    payload: OrderConfirmed | OrderDelayed | OrderRejected | OrderShipped
    try:
        match kind:
            case "confirmed":
                payload = Parse(event.data, OrderConfirmed(), ignore_unknown_fields=True)
                facts = {"total": payload.total, "currency": payload.currency}
            case "delayed":
                payload = Parse(event.data, OrderDelayed(), ignore_unknown_fields=True)
                facts = {}
            case "rejected":
                payload = Parse(event.data, OrderRejected(), ignore_unknown_fields=True)
                facts = {"reason": payload.reason}
            case "shipped":
                payload = Parse(event.data, OrderShipped(), ignore_unknown_fields=True)
                facts = {"shipment_number": payload.shipment_number}
            case _:
                raise PermanentFailure(f"no mail is written about {event.type}")
    except ParseError as error:
        raise PermanentFailure(f"not an {event.type}: {error}") from error
    return News(event.id, kind, payload.order_id, payload.user_id, event.time, facts)

"""The queue `order-invoice`: once an order is paid, its invoice is written."""

from __future__ import annotations

from google.protobuf.json_format import Parse, ParseError

from chassis.broker.consumer import PermanentFailure
from chassis.broker.port import Event
from chassis.errors import Kind, ShopError
from protos.shop.events.v1.events_pb2 import OrderPaid
from services.storage.invoices.invoice import PDF, file_id, render
from services.storage.ports import PaidOrders
from services.storage.use_cases import Storage

QUEUE = "order-invoice"

_PERMANENT = frozenset({Kind.INVALID, Kind.NOT_FOUND})


class InvoiceConsumer:
    """No inbox: the file's id is made from the order's, so a repeat finds its work done."""

    def __init__(self, orders: PaidOrders, storage: Storage) -> None:
        self._orders = orders
        self._storage = storage

    async def handle(self, event: Event) -> None:
        try:
            paid = Parse(event.data, OrderPaid(), ignore_unknown_fields=True)
        except ParseError as error:
            raise PermanentFailure(f"not an {event.type}: {error}") from error
        try:
            invoice = await self._orders.invoice(paid.order_id, paid.payment_id, event.time)
        except ShopError as error:
            if error.kind in _PERMANENT:
                raise PermanentFailure(str(error)) from error
            raise
        await self._storage.put(file_id(invoice.order_id), render(invoice), PDF, invoice.user_id)

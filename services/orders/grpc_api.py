"""shop.orders.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from chassis.auth.identity import admin, current_principal, service, signed_in
from chassis.errors import invalid
from chassis.grpc.timestamps import moment, timestamp
from chassis.pagination import decode_place, encode_place, page_size
from protos.shop.orders.v1 import orders_pb2 as pb
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceServicer
from services.orders.domain import Order
from services.orders.place_order import OrderPlacement
from services.orders.ports import HistoryEntry
from services.orders.use_cases import Orders

MAX_KEY = 255
_SEPARATOR = "\x1f"

_webhooks = service("webhook_worker")

POLICY = {
    "PlaceOrder": signed_in,
    "GetOrder": signed_in,
    "GetOrders": signed_in,
    "ListOrders": signed_in,
    "CancelOrder": signed_in,
    "ListOrderEvents": signed_in,
    "WatchOrder": signed_in,
    "MarkPaid": _webhooks,
    "MarkPaymentFailed": _webhooks,
    "RecordDelivery": _webhooks,
    "PlaceChannelOrder": _webhooks,
    "ListRecords": admin,
}


class OrderApi(OrderServiceServicer):
    def __init__(self, placement: OrderPlacement, orders: Orders) -> None:
        self._placement = placement
        self._orders = orders

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        _check_text(request.idempotency_key, "idempotency key")
        caller = current_principal()
        order, new = await self._placement.place_order(caller.subject, _basket(request.items), request.idempotency_key)
        return pb.PlaceOrderResponse(order=_message(order), replayed=not new)

    async def PlaceChannelOrder(
        self, request: pb.PlaceChannelOrderRequest, context: Any
    ) -> pb.PlaceChannelOrderResponse:
        _check_text(request.channel, "channel")
        _check_text(request.channel_order_id, "channel order id")
        if not (request.channel and request.channel_order_id):
            raise invalid(
                "channel order must have an id and a channel", channel_order_id="is required, and so is channel"
            )
        # A key space of its own: the separator is not printable, so no client's key and neither part can contain it.
        key = f"{request.channel}{_SEPARATOR}{request.channel_order_id}"
        order, _ = await self._placement.place_order(request.user_id, _basket(request.items), key)
        return pb.PlaceChannelOrderResponse(order=_message(order))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:
        return pb.GetOrderResponse(order=_message(await self._orders.get(request.id, current_principal())))

    async def GetOrders(self, request: pb.GetOrdersRequest, context: Any) -> pb.GetOrdersResponse:
        if not 1 <= len(request.ids) <= 100:
            raise invalid("request must have 1 to 100 ids", ids="must have 1 to 100 ids")
        found = await self._orders.several(request.ids, current_principal())
        return pb.GetOrdersResponse(orders=[_message(order) for order in found])

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Any) -> pb.ListOrdersResponse:
        caller = current_principal()
        size = page_size(request.page_size, limit=100)
        if len(request.user_ids) > 1:
            if len(request.user_ids) > 100:
                raise invalid("request must have at most 100 users", user_ids="must have at most 100 ids")
            if request.cursor:
                raise invalid("cursor is not supported for several users", cursor="must be empty with several users")
            orders = await self._orders.newest_of(request.user_ids, caller, each=size)
            return pb.ListOrdersResponse(orders=[_message(order) for order in orders])
        user_id = request.user_ids[0] if request.user_ids else caller.subject
        orders, last = await self._orders.page(user_id, caller, before=decode_place(request.cursor), size=size)
        return pb.ListOrdersResponse(orders=[_message(order) for order in orders], next_cursor=encode_place(last))

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Any) -> pb.CancelOrderResponse:
        return pb.CancelOrderResponse(order=_message(await self._orders.cancel(request.id, current_principal())))

    async def ListOrderEvents(self, request: pb.ListOrderEventsRequest, context: Any) -> pb.ListOrderEventsResponse:
        history = await self._orders.history(request.order_id, current_principal())
        return pb.ListOrderEventsResponse(events=[_entry(entry) for entry in history])

    async def WatchOrder(self, request: pb.WatchOrderRequest, context: Any) -> AsyncIterator[pb.OrderEvent]:
        caller = current_principal()
        async for entry in self._orders.watch(request.order_id, caller, after=request.after_sequence):
            yield _entry(entry)

    async def MarkPaid(self, request: pb.MarkPaidRequest, context: Any) -> pb.MarkPaidResponse:
        order = await self._orders.mark_paid(request.order_id, request.payment_id)
        return pb.MarkPaidResponse(order=_message(order))

    async def MarkPaymentFailed(
        self, request: pb.MarkPaymentFailedRequest, context: Any
    ) -> pb.MarkPaymentFailedResponse:
        order = await self._orders.mark_payment_failed(request.order_id, request.payment_id, request.reason)
        return pb.MarkPaymentFailedResponse(order=_message(order))

    async def RecordDelivery(self, request: pb.RecordDeliveryRequest, context: Any) -> pb.RecordDeliveryResponse:
        delivered_at = moment(request, "delivered_at")
        await self._orders.record_delivery(request.order_id, request.carrier, delivered_at)
        return pb.RecordDeliveryResponse()

    async def ListRecords(self, request: pb.ListRecordsRequest, context: Any) -> pb.ListRecordsResponse:
        size = page_size(request.page_size, limit=1_000)
        page = await self._orders.records(after=decode_place(request.cursor), size=size)
        records = [
            pb.OrderRecord(
                order=_message(record.order),
                payment_id=record.order.payment_id,
                events=[_entry(entry) for entry in record.history],
                unpublished=record.unpublished,
                demo=record.demo,
            )
            for record in page
        ]
        last = page[-1].order if len(page) == size else None
        place = (last.placed_at, last.id) if last else None
        return pb.ListRecordsResponse(records=records, next_cursor=encode_place(place))


def _basket(items: Any) -> list[tuple[str, int]]:
    return [(item.product_id, item.quantity) for item in items]


def _check_text(text: str, name: str) -> None:
    """Raise INVALID_INPUT unless a text can be (a part of) an idempotency key; an empty one is none."""
    if len(text) > MAX_KEY or not text.isprintable():
        must = f"must have at most {MAX_KEY} characters, all of them printable"
        raise invalid(f"invalid {name}", **{name.replace(" ", "_"): must})


def _entry(entry: HistoryEntry) -> pb.OrderEvent:
    return pb.OrderEvent(
        id=entry.id, type=entry.type, sequence=entry.sequence, time=timestamp(entry.time), data_json=entry.data
    )


def _message(order: Order) -> pb.Order:
    return pb.Order(
        id=order.id,
        user_id=order.user_id,
        status=order.status,
        status_reason=order.status_reason,
        items=[
            pb.OrderItem(
                product_id=item.product_id, name=item.name, quantity=item.quantity, unit_price=str(item.unit_price)
            )
            for item in order.items
        ],
        total=str(order.total),
        currency=order.currency,
        placed_at=timestamp(order.placed_at),
        version=order.version,
    )

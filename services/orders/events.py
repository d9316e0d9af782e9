"""What is told of an order, by the contract: a message of shop.events.v1, as JSON."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message import Message

from protos.shop.events.v1 import events_pb2
from services.orders.domain import Happened, Order

_MESSAGES: dict[str, type[Message]] = {
    "order.placed": events_pb2.OrderPlaced,
    "order.confirmed": events_pb2.OrderConfirmed,
    "order.rejected": events_pb2.OrderRejected,
    "order.paid": events_pb2.OrderPaid,
    "order.shipped": events_pb2.OrderShipped,
    "order.cancelled": events_pb2.OrderCancelled,
    "order.delivered": events_pb2.OrderDelivered,
}


def payload(order: Order, happened: Happened) -> bytes:
    """The event's data. Raises `ParseError` where the domain says something that the contract does not know."""
    facts = {"order_id": order.id, "user_id": order.user_id, **happened.facts}
    message = ParseDict(facts, _MESSAGES[happened.type]())
    return MessageToJson(message, preserving_proto_field_name=True, indent=None).encode()

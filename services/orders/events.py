"""Events of an order, by the contract: a message of shop.events.v1, as JSON; and as read from the log."""

from __future__ import annotations

import logging
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from chassis.grpc.timestamps import timestamp
from protos.shop.events.v1 import events_pb2
from services.orders.domain import Order, OrderEvent

log = logging.getLogger(__name__)

# Each event's message has the name of its class.
MESSAGES: dict[str, type[Message]] = {
    kind.type: getattr(events_pb2, kind.__name__) for kind in OrderEvent.__subclasses__()
}


def payload(order: Order, happened: OrderEvent) -> bytes:
    """The event's data: its message, by protobuf's JSON mapping."""
    message = MESSAGES[happened.type](order_id=order.id, user_id=order.user_id, **_fields(happened))
    return MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False).encode()


def log_event(order: Order, happened: OrderEvent) -> None:
    """Log the order's event: placed, confirmed, paid, shipped. Called once the event is committed."""
    facts = {"order_id": order.id, "total": f"{order.total} {order.currency}", "reason": order.status_reason}
    name = happened.type.removeprefix("order.").replace("_", " ")
    log.info("order %s", name, extra={key: value for key, value in facts.items() if value})


def _fields(part: Any) -> dict[str, Any]:
    return {field.name: _value(getattr(part, field.name)) for field in fields(part)}


def _value(fact: Any) -> Any:
    """A fact as a field of a message takes it."""
    match fact:
        case Decimal():
            return str(fact)
        case datetime():
            return timestamp(fact)
        case [*items]:
            return [events_pb2.OrderLine(**_fields(item)) for item in items]
        case _:
            return fact

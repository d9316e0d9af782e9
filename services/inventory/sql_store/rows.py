"""Mapping between rows and the domain, and the event of a product's new figures."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.json_format import MessageToJson

from chassis import wall_clock
from chassis.broker.port import Event
from chassis.database.database import item_of
from protos.shop.events.v1.events_pb2 import StockChanged
from services.inventory.domain import Line, Reservation, State


def stock_changed(product_id: str, available: int, reserved: int, shipped: int) -> Event:
    """`stock.changed`, with the figures as they are now."""
    payload = StockChanged(product_id=product_id, available=available, reserved=reserved, shipped=shipped)
    data = MessageToJson(payload, preserving_proto_field_name=True, indent=None).encode()
    return Event(uuid.uuid4().hex, "stock.changed", "/inventory", product_id, wall_clock.now(), data)


def read_reservation(row: Any) -> Reservation:
    """A row of `reservations`."""
    lines = [Line(product_id, quantity) for product_id, quantity in json.loads(row.lines)]
    return item_of(Reservation, row, state=State(row.state), lines=lines)


def reservation_row(
    order_id: str, state: State, lines: Sequence[Line], expires_at: datetime | None
) -> dict[str, object]:
    """A row for `reservations`."""
    return {
        "order_id": order_id,
        "state": state.value,
        "lines": json.dumps([[line.product_id, line.quantity] for line in lines]),
        "changed_at": wall_clock.now(),
        "expires_at": expires_at,
    }

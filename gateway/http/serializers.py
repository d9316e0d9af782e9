"""Serializers: the contracts' messages as the JSON of the REST surface."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.responses import Response

from protos.shop.catalog.v1.catalog_pb2 import Product
from protos.shop.inventory.v1.inventory_pb2 import Availability
from protos.shop.orders.v1.orders_pb2 import Order, OrderEvent
from protos.shop.reports.v1.reports_pb2 import GetSalesResponse
from protos.shop.storage.v1.storage_pb2 import FileInfo
from protos.shop.users.v1.users_pb2 import User

Json = dict[str, Any]


def encoded(content: Json) -> bytes:
    """The content as JSON; times as RFC 3339 in UTC."""
    return orjson.dumps(content, option=orjson.OPT_UTC_Z)


def json_response(content: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer for this caller alone, unless the headers allow more."""
    return Response(encoded(content), status, headers or {"cache-control": "no-store"}, "application/json")


def page(items: list[Json], next_cursor: str = "") -> Json:
    return {"items": items, "next_cursor": next_cursor or None}


def user(message: User) -> Json:
    return {"id": message.id, "name": message.name, "email": message.email, "role": message.role}


def product(message: Product) -> Json:
    return {
        "id": message.id,
        "name": message.name,
        "description": message.description,
        "category": message.category,
        "price": message.price,
        "currency": message.currency,
        "image_url": message.image_url,
        "updated_at": _time(message.updated_at),
    }


def availability(message: Availability) -> Json:
    return {
        "product_id": message.product_id,
        "available": message.available,
        "stale": message.stale,
        "as_of": _time(message.as_of),
    }


def order(message: Order) -> Json:
    return {
        "id": message.id,
        "user_id": message.user_id,
        "status": message.status,
        "status_reason": message.status_reason or None,
        "items": [
            {"product_id": item.product_id, "name": item.name, "quantity": item.quantity, "unit_price": item.unit_price}
            for item in message.items
        ],
        "total": message.total,
        "currency": message.currency,
        "placed_at": _time(message.placed_at),
    }


def event(message: OrderEvent) -> Json:
    return {
        "id": message.id,
        "type": message.type,
        "sequence": message.sequence,
        "time": _time(message.time),
        "data": orjson.Fragment(message.data_json or "{}"),
    }


def file(message: FileInfo) -> Json:
    return {"id": message.id, "size": message.size, "sha256": message.sha256, "content_type": message.content_type}


def sales(message: GetSalesResponse, by: str) -> Json:
    rows = [
        {
            "key": row.key,
            "name": row.name or None,
            "currency": row.currency,
            "orders": row.orders,
            "quantity": row.quantity,
            "revenue": row.revenue,
        }
        for row in message.rows
    ]
    return {
        "by": by,
        "from": message.first_day,
        "to": message.last_day,
        "since": _time(message.since) if message.HasField("since") else None,
        "as_of": _time(message.as_of) if message.HasField("as_of") else None,
        "gap_at": _time(message.gap_at) if message.HasField("gap_at") else None,
        "unknown_orders": message.unknown_orders,
        **page(rows, message.next_cursor),
    }


def _time(moment: Timestamp) -> datetime:
    return datetime.fromtimestamp(moment.seconds, UTC).replace(microsecond=moment.nanos // 1000)

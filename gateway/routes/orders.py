"""Orders: accepted at once, processed by events."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from gateway import rendering
from gateway.auth import SIGNED_IN
from gateway.clients import upstreams
from gateway.models import IdInPath, NewOrder, Order, OrderHistory, OrderPage
from gateway.openapi import operation_id, problems
from gateway.parameters import ID_LIST, Cursor, Limit, id_list
from gateway.plain_routes import PlainWrite
from gateway.rendering import json_response
from protos.shop.orders.v1 import orders_pb2 as pb

router = APIRouter(tags=["orders"], dependencies=[SIGNED_IN], generate_unique_id_function=operation_id)
_busiest = APIRouter(
    tags=["orders"], dependencies=[SIGNED_IN], generate_unique_id_function=operation_id, route_class=PlainWrite
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Chosen by the client: a repeat with the same key and body gets the same answer.",
        examples=["6f1c2c1e-8a55-4f0e-9d3b-0a4f5f1f2d11"],
    ),
]


@_busiest.post(
    "/v1/orders",
    summary="Place an order",
    status_code=202,
    response_model=Order,
    responses=problems(401, 403, 408, 413, 415, 422),
)
async def place_order(request: Request, body: NewOrder, idempotency_key: IdempotencyKey = None) -> Response:
    items = [pb.NewItem(product_id=item.product_id, quantity=item.quantity) for item in body.items]
    # A key of our own makes the call safe to repeat towards orders, should its answer get lost.
    order = await upstreams(request).orders.place(items, idempotency_key or uuid.uuid4().hex)
    return _accepted(order)


router.routes.extend(_busiest.routes)


@router.get("/v1/orders", summary="Orders, newest first", response_model=OrderPage, responses=problems(401, 404, 422))
async def list_orders(
    request: Request,
    user_id: Annotated[
        str | None,
        Query(
            description="Whose; the caller's own by default. With several, comma-separated, `limit` is for each.",
            examples=["123"],
            json_schema_extra=ID_LIST,
        ),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = "",
) -> Response:
    user_ids = id_list("user_id", user_id) if user_id is not None else []
    found = await upstreams(request).orders.page(user_ids=user_ids, limit=limit, cursor=cursor)
    return json_response(rendering.page([rendering.order(order) for order in found.orders], found.next_cursor))


@router.get("/v1/orders/{order_id}", summary="An order", response_model=Order, responses=problems(401, 404, 422))
async def get_order(request: Request, order_id: IdInPath) -> Response:
    return json_response(rendering.order(await upstreams(request).orders.order(order_id)))


@router.post(
    "/v1/orders/{order_id}/cancel",
    summary="Cancel an order that has not been paid",
    status_code=202,
    response_model=Order,
    responses=problems(401, 404, 409, 422),
)
async def cancel_order(request: Request, order_id: IdInPath) -> Response:
    return _accepted(await upstreams(request).orders.cancel(order_id))


@router.get(
    "/v1/orders/{order_id}/events",
    summary="What has happened to an order so far",
    response_model=OrderHistory,
    responses=problems(401, 404, 422),
)
async def list_order_events(request: Request, order_id: IdInPath) -> Response:
    events = await upstreams(request).orders.events(order_id)
    return json_response({"items": [rendering.event(event) for event in events]})


def _accepted(order: pb.Order) -> Response:
    headers = {"location": f"/v1/orders/{order.id}", "cache-control": "no-store"}
    return json_response(rendering.order(order), 202, headers)

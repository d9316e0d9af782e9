"""Orders: accepted at once, processed by events. `order_reads` has the routes that read them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gateway.clients.services import upstreams
from gateway.http import serializers
from gateway.http.json_route import JsonRoute
from gateway.http.parameters import REPLAYED, IdempotencyKey
from gateway.http.schemas import IdInPath, NewOrder, Order
from gateway.http.serializers import json_response
from gateway.middleware.auth import SIGNED_IN
from gateway.openapi import operation_id, problems, with_headers
from protos.shop.orders.v1 import orders_pb2 as pb

router = APIRouter(
    route_class=JsonRoute, tags=["orders"], dependencies=[SIGNED_IN], generate_unique_id_function=operation_id
)

_PLACED = {"headers": {**with_headers("Location")["headers"], "Idempotency-Replayed": REPLAYED}}


@router.post(
    "/v1/orders",
    summary="Place an order",
    status_code=202,
    response_model=Order,
    responses={202: _PLACED, **problems(401, 403, 422)},
)
async def place_order(request: Request, body: NewOrder, idempotency_key: IdempotencyKey = None) -> Response:
    items = [pb.NewItem(product_id=item.product_id, quantity=item.quantity) for item in body.items]
    # Without a client's key we make one, so that our call to orders can be retried if its answer is lost.
    order = pb.PlaceOrderRequest(items=items, idempotency_key=idempotency_key or uuid.uuid4().hex)
    placed = await upstreams(request).orders.PlaceOrder(order)
    replayed = placed.replayed and idempotency_key is not None
    return _accepted(placed.order, {"idempotency-replayed": "true"} if replayed else {})


@router.post(
    "/v1/orders/{order_id}/cancel",
    summary="Cancel an order that has not been paid",
    status_code=202,
    response_model=Order,
    responses={202: with_headers("Location"), **problems(401, 404, 409, 422)},
)
async def cancel_order(request: Request, order_id: IdInPath) -> Response:
    return _accepted((await upstreams(request).orders.CancelOrder(pb.CancelOrderRequest(id=order_id))).order)


def _accepted(order: pb.Order, more: Mapping[str, str] | None = None) -> Response:
    headers = {"location": f"/v1/orders/{order.id}", "cache-control": "no-store", **(more or {})}
    return json_response(serializers.order(order), 202, headers)

"""Orders as they stand: read once, revalidated cheaply (`ETag`), or waited for (`Prefer: wait`)."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Header
from starlette.requests import Request
from starlette.responses import Response

from chassis.background import wait
from gateway.clients.event_feed import OrderWaiters
from gateway.clients.services import upstreams
from gateway.http import serializers
from gateway.http.disconnects import while_connected
from gateway.http.etags import none_match, version_etag
from gateway.http.parameters import Cursor, IfNoneMatch, Limit, id_list, ids_of
from gateway.http.preferences import MAX_WAIT, wait_preferred
from gateway.http.schemas import IdInPath, Order, OrderHistory, OrderPage
from gateway.http.serializers import json_response
from gateway.middleware.auth import SIGNED_IN
from gateway.openapi import operation_id, problems
from protos.shop.orders.v1 import orders_pb2 as pb

router = APIRouter(tags=["orders"], dependencies=[SIGNED_IN], generate_unique_id_function=operation_id)

# The caller's own cache may keep an order, and revalidates it each time.
_OWN = "private, no-cache"
_ETAG = {"description": "The order's version: it changes whenever the order does.", "schema": {"type": "string"}}
_APPLIED = {"description": "`wait=N`: the wait was applied, up to N seconds.", "schema": {"type": "string"}}
_HEADERS = {"ETag": _ETAG, "Preference-Applied": _APPLIED}

Prefer = Annotated[
    str | None,
    Header(
        description="`wait=N` (RFC 7240): with `If-None-Match`, answer when the order changes, or with a 304 after N "
        f"seconds, at most {MAX_WAIT}.",
        examples=["wait=20"],
    ),
]


@router.get("/v1/orders", summary="Orders, newest first", response_model=OrderPage, responses=problems(401, 404, 422))
async def list_orders(
    request: Request,
    user_id: Annotated[
        str | None,
        ids_of(
            "User ids, comma-separated; the caller by default. With several, `limit` is for each, there is no "
            "`cursor`, `next_cursor` is null, and users whose orders the caller may not see are left out.",
            "123",
        ),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = "",
    ids: Annotated[
        str | None,
        ids_of(
            "Order ids, comma-separated; other parameters are then ignored. Orders that do not exist or are not the "
            "caller's are left out.",
            "123,124",
        ),
    ] = None,
) -> Response:
    orders = upstreams(request).orders
    if ids is None:
        user_ids = id_list("user_id", user_id) if user_id is not None else []
        page = await orders.ListOrders(pb.ListOrdersRequest(user_ids=user_ids, page_size=limit, cursor=cursor))
        found, next_cursor = page.orders, page.next_cursor
    else:
        found, next_cursor = (await orders.GetOrders(pb.GetOrdersRequest(ids=id_list("ids", ids)))).orders, ""
    return json_response(serializers.page([serializers.order(order) for order in found], next_cursor))


@router.get(
    "/v1/orders/{order_id}",
    summary="An order; `Prefer: wait=N` waits for its next change",
    response_model=Order,
    responses={
        200: {"headers": _HEADERS},
        304: {"description": "Not modified", "headers": _HEADERS},
        **problems(401, 404, 412, 422),
    },
)
async def get_order(
    request: Request,
    order_id: IdInPath,
    if_none_match: IfNoneMatch = None,
    prefer: Prefer = None,  # noqa: ARG001  # documented here; all its lines are read below
) -> Response:
    orders, wanted = upstreams(request).orders, pb.GetOrderRequest(id=order_id)
    waiters: OrderWaiters = request.app.state.order_waiters
    # Subscribed before the read, so that no change in between is missed.
    with waiters.expected(order_id) as change:
        order, seconds = (await orders.GetOrder(wanted)).order, wait_preferred(request.headers.getlist("prefer"))
        headers = {"etag": version_etag(order.id, order.version), "cache-control": _OWN}
        if change is not None and seconds and if_none_match:
            headers["preference-applied"] = f"wait={seconds}"
            end = time.monotonic() + seconds
            while not none_match(if_none_match, headers["etag"]) and time.monotonic() < end and not waiters.over:
                await while_connected(request, wait(change, end - time.monotonic()))
                change.clear()
                order = (await orders.GetOrder(wanted)).order
                headers["etag"] = version_etag(order.id, order.version)
    if not none_match(if_none_match, headers["etag"]):
        return Response(None, 304, headers)
    return json_response(serializers.order(order), headers=headers)


@router.get(
    "/v1/orders/{order_id}/events",
    summary="Order history",
    response_model=OrderHistory,
    responses=problems(401, 404, 422),
)
async def list_order_events(request: Request, order_id: IdInPath) -> Response:
    found = await upstreams(request).orders.ListOrderEvents(pb.ListOrderEventsRequest(order_id=order_id))
    return json_response({"items": [serializers.event(event) for event in found.events]})

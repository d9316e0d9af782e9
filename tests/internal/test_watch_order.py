"""OrderService.WatchOrder: an order's history, then each event as it happens, across broken streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from chassis.grpc.client import connect
from protos.shop.orders.v1 import orders_pb2 as pb
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from tests.shop import Shop, shop_in_one_loop

WHOLE = ["order.placed", "order.confirmed", "order.paid", "order.shipped"]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path, {"SHOP_PAYMENT_DELAY": "0.3"}) as running:
        yield running


async def watch(
    shop: Shop, order_id: str, after: int, count: int, *, email: str = "demo@shop.test"
) -> list[pb.OrderEvent]:
    """The next so many events of an order; then the stream is broken off."""
    password = email.partition("@")[0]
    authorization = (await shop.bearer(email, password))["Authorization"]
    async with connect(shop.address("SHOP_ORDERS_ADDRESS")) as channel:
        request = pb.WatchOrderRequest(order_id=order_id, after_sequence=after)
        call = OrderServiceStub(channel).WatchOrder(request, metadata=[("authorization", authorization)])
        seen: list[pb.OrderEvent] = []
        async with asyncio.timeout(20):
            while len(seen) < count:
                event = await call.read()
                assert isinstance(event, pb.OrderEvent), "the stream has ended"
                seen.append(event)
        call.cancel()
        return seen


async def test_a_watcher_sees_each_event_once_however_often_it_reconnects(shop: Shop) -> None:
    """From its placing to its shipment, one event a stream, resumed by sequence: nothing is missed or seen twice."""
    order_id = (await shop.place(("42", 1))).json()["id"]
    seen: list[pb.OrderEvent] = []
    while len(seen) < len(WHOLE):
        seen += await watch(shop, order_id, seen[-1].sequence if seen else 0, 1)
    assert [event.type for event in seen] == WHOLE
    assert [event.sequence for event in seen] == [1, 2, 3, 4]
    again = await watch(shop, order_id, 0, len(WHOLE))
    assert again == seen


async def test_many_watch_one_order(shop: Shop) -> None:
    """Every watcher sees all of it, in order, as it happens."""
    order_id = (await shop.place(("42", 1))).json()["id"]
    watching = [watch(shop, order_id, 0, len(WHOLE)) for _ in range(20)]
    for seen in await asyncio.gather(*watching):
        assert [event.type for event in seen] == WHOLE


async def test_another_customer_sees_nothing(shop: Shop) -> None:
    """Another customer's order does not exist; an admin may watch any."""
    order_id = (await shop.place(("42", 1))).json()["id"]
    assert len(await watch(shop, order_id, 0, 1, email="admin@shop.test")) == 1
    registered = {"name": "Eve", "email": "eve@shop.test", "password": "eve-has-a-password"}
    assert (await shop.http.post("/v1/users", json=registered)).status_code == 201
    token = await shop.token("eve@shop.test", "eve-has-a-password")
    async with connect(shop.address("SHOP_ORDERS_ADDRESS")) as channel:
        call = OrderServiceStub(channel).WatchOrder(
            pb.WatchOrderRequest(order_id=order_id), metadata=[("authorization", f"Bearer {token}")]
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND

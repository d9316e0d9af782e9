"""The promises of the notifier's `Orders` port, for the adapter that calls orders and for the one that caches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from chassis.auth.identity import Principal, TokenVerifier, acting_as, signed_in
from chassis.errors import ShopError
from chassis.grpc.client import Client, connect
from chassis.grpc.server import serve
from chassis.observability.tracing import Telemetry
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub, add_OrderServiceServicer_to_server
from services.notifier.clients import CachedOrders, GrpcOrders
from services.notifier.ports import Orders
from services.users.tokens import JwtSigner
from tests.notifier.conftest import KEY, FakeOrders, token

CLOSED_PORT = 1


@contextmanager
def caller(subject: str, role: str = "customer") -> Iterator[None]:
    with acting_as(Principal(subject, role, token(subject, role), float("inf"))):
        yield


@asynccontextmanager
async def calling(port: int) -> AsyncIterator[GrpcOrders]:
    async with connect(f"127.0.0.1:{port}") as channel:
        yield GrpcOrders(OrderServiceStub(channel), Client("orders", Telemetry("test")))


@asynccontextmanager
async def serving(service: FakeOrders) -> AsyncIterator[int]:
    async def jwks() -> str:
        return JwtSigner([KEY], lifetime=1).jwks()

    async with serve(
        (add_OrderServiceServicer_to_server, service),
        policy={"GetOrder": signed_in},
        telemetry=Telemetry("orders"),
        host="127.0.0.1",
        port=0,
        verifier=TokenVerifier(jwks),
        reflection=False,
    ) as port:
        yield port


@pytest.fixture
def service() -> FakeOrders:
    return FakeOrders()  # type: ignore[abstract] # gRPC answers UNIMPLEMENTED


@pytest.fixture(params=[lambda orders: orders, CachedOrders], ids=["GrpcOrders", "CachedOrders"])
def adapter(request: pytest.FixtureRequest) -> Callable[[Orders], Orders]:
    """Makes the adapter under test of the one that calls."""
    made: Callable[[Orders], Orders] = request.param
    return made


@pytest.fixture
async def orders(adapter: Callable[[Orders], Orders], service: FakeOrders) -> AsyncIterator[Orders]:
    async with serving(service) as port, calling(port) as found:
        yield adapter(found)


async def refused(orders: Orders, order_id: str) -> str:
    """The code of the refusal."""
    with pytest.raises(ShopError) as refusal:
        await orders.owner(order_id)
    return refusal.value.code


async def test_customer_and_admin_see_the_owner(orders: Orders) -> None:
    """The customer of an order and any admin get its customer, as often as they ask."""
    for _ in range(2):
        with caller("123"):
            assert await orders.owner("o1") == "123"
        with caller("1", "admin"):
            assert await orders.owner("o1") == "123"


async def test_stranger_does_not_learn_what_others_may_see(orders: Orders) -> None:
    """Another customer gets NOT_FOUND, also right after the order's customer and an admin have got its owner."""
    for subject, role in (("123", "customer"), ("1", "admin")):
        with caller(subject, role):
            await orders.owner("o1")
    with caller("456"):
        assert await refused(orders, "o1") == "NOT_FOUND"
    with caller("1"):  # was an admin, and is none any more
        assert await refused(orders, "o1") == "NOT_FOUND"


async def test_order_is_found_once_it_is_there(orders: Orders, service: FakeOrders) -> None:
    """NOT_FOUND holds for the call that it answers: an order that is placed afterwards is found."""
    with caller("123"):
        assert await refused(orders, "o2") == "NOT_FOUND"
        service.ids.add("o2")
        assert await orders.owner("o2") == "123"


async def test_orders_that_does_not_answer_is_unavailable(adapter: Callable[[Orders], Orders]) -> None:
    """UPSTREAM_UNAVAILABLE for an order that the caller has not asked for before."""
    async with calling(CLOSED_PORT) as unanswered:
        with caller("123"):
            assert await refused(adapter(unanswered), "o1") == "UPSTREAM_UNAVAILABLE"

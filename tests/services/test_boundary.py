"""What every gRPC service does at its edge, whatever is behind it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.auth.identity import TokenVerifier, anyone, current_principal
from chassis.errors import Kind, ShopError
from chassis.grpc.client import connect
from chassis.grpc.errors import error_from
from chassis.grpc.server import Boundary, serve
from chassis.resilience.deadlines import time_left
from protos.shop.orders.v1 import orders_pb2 as pb
from protos.shop.orders.v1 import orders_pb2_grpc
from services.catalog import bootstrap as catalog
from tests.grpc_streams import described_services
from tests.services.conftest import SIGNER, SPANS, FakeInventory, Service, reached

NAME = "shop.orders.v1.OrderService"
GET = pb.GetOrderRequest(id="o1")
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class FakeOrders(orders_pb2_grpc.OrderServiceServicer):
    """Fake: does whatever the test wants in GetOrder and before the first message of WatchOrder."""

    def __init__(self) -> None:
        self.act: Callable[[], Awaitable[None]] | None = None
        self.calls = 0

    async def GetOrder(self, request: Any, context: Any) -> pb.GetOrderResponse:  # noqa: N802 - gRPC's name
        self.calls += 1
        if self.act is not None:
            await self.act()
        return pb.GetOrderResponse(order=pb.Order(id=request.id, user_id=current_principal().subject))

    async def WatchOrder(self, request: Any, context: Any) -> AsyncIterator[pb.OrderEvent]:  # noqa: N802
        if self.act is not None:
            await self.act()
        yield pb.OrderEvent(id="e1")


@asynccontextmanager
async def serving(fake: FakeOrders) -> AsyncIterator[int]:
    async def jwks() -> str:
        return SIGNER.jwks()

    async with serve(
        (orders_pb2_grpc.add_OrderServiceServicer_to_server, fake),
        policy={"GetOrder": anyone, "WatchOrder": anyone},
        verifier=TokenVerifier(jwks),
        telemetry=SPANS,
        host="127.0.0.1",
        port=0,
    ) as port:
        yield port


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    fake = FakeOrders()  # type: ignore[abstract]  # the other methods are not called
    async with serving(fake) as port, reached(orders_pb2_grpc.OrderServiceStub, port, fake) as found:
        yield found


async def goes_wrong() -> None:
    raise LookupError("postgresql://shop:s3cret@db/orders")


async def test_caller_is_known_behind_the_edge(service: Service) -> None:
    """What a service does, it does as the subject of the call's token, and refuses a call without one."""
    assert (await service.as_("u1").call("GetOrder", GET)).order.user_id == "u1"
    assert (await service.as_().call("GetOrder", GET)).order.user_id == ""


@pytest.mark.parametrize("value", ["Bearer x", "Bearer a.b.c", "bearer " + "x" * 4_000])
async def test_bad_token_is_refused_even_where_none_is_needed(service: Service, value: str) -> None:
    """A token that cannot be verified is never taken for no token."""
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await service.stub.GetOrder(GET, metadata=[("authorization", value)])
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert service.fakes.calls == 0


async def test_method_without_a_policy_is_refused(service: Service) -> None:
    """A method without a rule is refused, to an admin too."""
    assert (await service.admin.refusal("CancelOrder", pb.CancelOrderRequest(id="o1"))).code == "FORBIDDEN"


async def test_unexpected_error_tells_its_trace_and_nothing_else(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    """What went wrong is in our log, under the trace id that is all the caller gets to know."""
    service.fakes.act = goes_wrong
    refusal = await service.as_("u1").refusal("GetOrder", GET)
    assert refusal.code == "INTERNAL"
    assert re.fullmatch(r"internal error; trace [0-9a-f]{32}", refusal.message)
    assert (refusal.fields, refusal.details, refusal.retry_after) == ({}, {}, None)
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


async def test_unexpected_error_in_a_stream_too(service: Service) -> None:
    """A stream that fails ends with the same answer as a call."""
    service.fakes.act = goes_wrong
    with pytest.raises(ShopError, match=r"^INTERNAL: internal error; trace [0-9a-f]{32}$"):
        await anext(service.as_("u1").stream("WatchOrder", pb.WatchOrderRequest(order_id="o1")))


async def test_slow_handshake_is_waited_for() -> None:
    """An upstream that is so busy that it takes long to shake hands is waited for, not given up."""

    async def late(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1 << 16)
        await asyncio.sleep(0.3)  # the slowness itself
        there, back = await asyncio.open_connection("127.0.0.1", port)
        back.write(first)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    async with serving(FakeOrders()) as port:  # type: ignore[abstract]  # as above
        server = await asyncio.start_server(partial(late, port), "127.0.0.1", 0)
        slow = server.sockets[0].getsockname()[1]
        async with reached(orders_pb2_grpc.OrderServiceStub, slow) as service:
            assert (await service.as_("u1").call("GetOrder", GET)).order.id == "o1"
        server.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes until it ends."""
    while received := await reader.read(1 << 16):
        writer.write(received)
    writer.close()


async def test_a_browsers_request_gets_no_answer_that_it_can_read() -> None:
    """HTTP/1.1, as a page's `fetch` speaks it to a port without TLS, is answered by HTTP/2 frames and the end."""
    async with serving(FakeOrders()) as port, asyncio.timeout(30):  # type: ignore[abstract]  # as above
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /shop.orders.v1.OrderService/GetOrder HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        answer = await reader.read()
        writer.close()
    # A frame of SETTINGS (RFC 9113, section 3.4): its length, its type, no flags, and the connection's own stream.
    assert answer[3:9] == b"\x04\0\0\0\0\0"
    assert b"HTTP/1." not in answer


async def test_callers_deadline_is_the_services_own(service: Service) -> None:
    """A service's calls to others within a call may take no longer than its caller waits."""
    seen: list[float] = []

    async def look() -> None:
        seen.append(time_left() or 0)

    service.fakes.act = look
    await service.as_("u1").call("GetOrder", GET, timeout=30)
    assert 0 < seen[0] <= 30.5  # gRPC rounds up to what its header can say


@pytest.mark.parametrize("left", [0.0, -1.0])
async def test_expired_deadline_does_no_work(left: float) -> None:
    """A call whose time is up when it is its turn is not begun, and its answer says when to come again."""
    fake = FakeOrders()  # type: ignore[abstract]  # the other methods are not called
    handler: Any = grpc.unary_unary_rpc_method_handler(fake.GetOrder)
    aborted: list[tuple[Kind, float | None]] = []

    async def abort(code: grpc.StatusCode, _: str, metadata: Any) -> None:
        refusal = error_from(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata)), "orders")
        aborted.append((refusal.kind, refusal.retry_after))

    boundary = Boundary({"GetOrder": anyone}, None, SPANS)
    wrapped: Any = boundary.wrap(handler, NAME, "GetOrder")
    context = SimpleNamespace(time_remaining=lambda: left, invocation_metadata=tuple, abort=abort)
    await wrapped.unary_unary(GET, context)
    assert (aborted, fake.calls) == ([(Kind.TIMEOUT, 1.0)], 0)


async def test_health_says_not_serving_before_the_end() -> None:
    """A service that stops says so first; then calls in flight are finished, and new ones are refused."""
    fake = FakeOrders()  # type: ignore[abstract]  # the other methods are not called
    entered, finish = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        entered.set()
        await finish.wait()

    fake.act = slow
    async with AsyncExitStack() as stack, asyncio.timeout(10):
        running = await stack.enter_async_context(AsyncExitStack())
        port = await running.enter_async_context(serving(fake))
        service = await stack.enter_async_context(reached(orders_pb2_grpc.OrderServiceStub, port, fake))
        channel = await stack.enter_async_context(connect(f"127.0.0.1:{port}"))
        watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=NAME))
        statuses = aiter(watched)
        assert (await anext(statuses)).status == SERVING
        in_flight = asyncio.create_task(service.as_("u1").call("GetOrder", GET))
        await entered.wait()
        stopping = asyncio.create_task(running.aclose())
        assert (await anext(statuses)).status == NOT_SERVING
        finish.set()
        assert (await in_flight).order.id == "o1"
        watched.cancel()
        await stopping
        assert (await service.as_("u1").refusal("GetOrder", GET)).code == "UPSTREAM_UNAVAILABLE"


@pytest.mark.parametrize(("env", "answer"), [("development", "OK"), ("production", "UNIMPLEMENTED")])
async def test_contract_is_told_in_development_only(common: dict[str, Any], env: str, answer: str) -> None:
    """Reflection, which shows the whole contract to any caller, is served in development and not in production."""
    settings = catalog.Settings.model_validate(common | {"env": env, "catalog_port": 0})
    async with catalog.run(settings, inventory=FakeInventory()) as running:
        try:
            assert "shop.catalog.v1.CatalogService" in await described_services(running.port)
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = cast("grpc.Call", error).code()
        assert code.name == answer

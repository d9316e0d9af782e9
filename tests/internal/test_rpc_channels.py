"""Channels to several addresses, retries of what may be repeated, and reflection where it belongs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.exceptions
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.auth.identity import no_token
from chassis.errors import ShopError
from chassis.grpc.client import Client, connect
from chassis.grpc.server import MAX_STREAMS
from chassis.observability.tracing import Telemetry
from console import bootstrap as console
from gateway.clients.services import IDEMPOTENT
from protos.shop.catalog.v1 import catalog_pb2
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.orders.v1 import orders_pb2
from protos.shop.orders.v1.orders_pb2_grpc import (
    OrderServiceServicer,
    OrderServiceStub,
    add_OrderServiceServicer_to_server,
)
from services.catalog import bootstrap as catalog
from services.users import bootstrap as users
from tests.grpc_streams import described_services
from tests.legacy.identity import stub_users
from tests.shop import free_ports
from tests.waiting import eventually

PRODUCT = catalog_pb2.GetProductsRequest(ids=["42"])


class CatalogCopies:
    """Copies of catalog on one database, each on a port of its own."""

    def __init__(self, stack: AsyncExitStack, data_dir: Path, users_address: str) -> None:
        self._stack = stack
        self._data_dir = data_dir
        self._users = users_address

    async def start(self, port: int = 0) -> tuple[int, AsyncExitStack]:
        settings = catalog.Settings(
            catalog_port=port, data_dir=self._data_dir, users_address=self._users, otlp_url="", demo_data=True
        )
        life = await self._stack.enter_async_context(AsyncExitStack())
        running = await life.enter_async_context(catalog.run(settings, inventory=cast("Any", None)))
        return running.port, life


@pytest.fixture
async def copies(tmp_path: Path) -> AsyncIterator[CatalogCopies]:
    async with AsyncExitStack() as stack:
        yield CatalogCopies(stack, tmp_path, await stack.enter_async_context(stub_users()))


def client() -> Client:
    return Client("catalog", Telemetry("test"), token=no_token, timeout=30)


async def test_two_copies_share_the_calls_and_one_may_die(copies: CatalogCopies) -> None:
    """Calls go to both copies of an upstream in turn; when one dies the other takes all, and then both again."""
    first, first_life = await copies.start()
    second, _ = await copies.start()
    counts = Counting(first, second)
    async with (
        counts.listening() as address,
        connect(address, idempotent=["shop.catalog.v1.CatalogService"]) as channel,
    ):
        stub, ours = CatalogServiceStub(channel), client()

        async def ask(times: int = 20) -> None:
            for _ in range(times):
                assert (await ours.call(stub.GetProducts, PRODUCT)).products[0].id == "42"

        async def both() -> bool:
            counts.seen = {first: 0, second: 0}
            await ask()
            return min(counts.seen.values()) > 0

        await eventually(both)
        await first_life.aclose()
        await ask()  # without an error
        await copies.start(first)
        await eventually(both)


class Counting:
    """Stands in front of some ports and counts what they are sent, so that a test sees which one is called."""

    def __init__(self, *ports: int) -> None:
        self.seen = dict.fromkeys(ports, 0)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        servers = [await asyncio.start_server(self._forward(port), "127.0.0.1", 0) for port in self.seen]
        addresses = [f"127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
        try:
            yield f"ipv4:{','.join(addresses)}"
        finally:
            for server in servers:
                server.close()
            for task in self._tasks:
                task.cancel()

    def _forward(self, port: int) -> Any:
        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                writer.close()
                return
            for pump in (self._pump(reader, up_writer, port), self._pump(up_reader, writer, None)):
                task = asyncio.create_task(pump)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

        return forward

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int | None) -> None:
        try:
            while content := await reader.read(65_536):
                if port is not None:
                    self.seen[port] += len(content) > 100  # a call, not an acknowledgement
                writer.write(content)
                await writer.drain()
        except OSError:
            writer.close()
            return
        writer.close()


class Flaky(OrderServiceServicer):
    """Says UNAVAILABLE so many times, as a proxy would whose upstream is away, and then answers."""

    def __init__(self) -> None:
        self.failures = 2
        self.asked = 0

    async def _answer(self, context: Any, response: Any) -> Any:
        self.asked += 1
        if self.asked <= self.failures:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        return response

    async def GetOrder(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(context, orders_pb2.GetOrderResponse(order=orders_pb2.Order(id=request.id)))

    async def PlaceOrder(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(context, orders_pb2.PlaceOrderResponse())

    async def MarkPaid(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(context, orders_pb2.MarkPaidResponse())

    async def CancelOrder(self, request: Any, context: Any) -> Any:  # noqa: N802
        return await self._answer(context, orders_pb2.CancelOrderResponse())


@pytest.fixture
async def flaky() -> AsyncIterator[tuple[Flaky, str]]:
    server = grpc.aio.server()
    servicer = Flaky()  # type: ignore[abstract]  # the other methods are not called
    add_OrderServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(None)


async def test_what_may_be_repeated_is_retried_by_grpc_itself(flaky: tuple[Flaky, str]) -> None:
    """Two UNAVAILABLE and then an answer: the caller of an idempotent method sees the answer alone."""
    servicer, address = flaky
    async with connect(address, idempotent=IDEMPOTENT["orders"]) as channel:
        stub = OrderServiceStub(channel)
        response = await client().call(stub.GetOrder, orders_pb2.GetOrderRequest(id="o1"))
    assert (response.order.id, servicer.asked) == ("o1", 3)


@pytest.mark.parametrize(
    ("method", "request_"),
    [("MarkPaid", orders_pb2.MarkPaidRequest()), ("CancelOrder", orders_pb2.CancelOrderRequest())],
)
async def test_anything_else_is_not(flaky: tuple[Flaky, str], method: str, request_: Any) -> None:
    """A method that is not named as idempotent is tried once."""
    servicer, address = flaky
    async with connect(address, idempotent=IDEMPOTENT["orders"]) as channel:
        with pytest.raises(ShopError, match="UPSTREAM_UNAVAILABLE"):
            await client().call(getattr(OrderServiceStub(channel), method), request_)
    assert servicer.asked == 1


async def test_without_a_list_nothing_is_retried(flaky: tuple[Flaky, str]) -> None:
    """A channel whose user names nothing retries nothing, an order without a key least of all."""
    servicer, address = flaky
    async with connect(address) as channel:
        with pytest.raises(ShopError, match="UPSTREAM_UNAVAILABLE"):
            await client().call(OrderServiceStub(channel).PlaceOrder, orders_pb2.PlaceOrderRequest())
    assert servicer.asked == 1


async def test_retries_end_with_the_deadline(flaky: tuple[Flaky, str]) -> None:
    """Retries take no longer than the call may."""
    servicer, address = flaky
    servicer.failures = 0
    async with connect(address, idempotent=IDEMPOTENT["orders"]) as channel:
        stub = OrderServiceStub(channel)
        await client().call(stub.GetOrder, orders_pb2.GetOrderRequest())  # connects
        servicer.asked, servicer.failures = 0, 1_000
        with pytest.raises(ShopError, match=r"UPSTREAM_UNAVAILABLE|DEADLINE_EXCEEDED"):
            await client().call(stub.GetOrder, orders_pb2.GetOrderRequest(), timeout=0.4)
    # The fourth attempt would be after 0.05 + 0.15 + 0.45 s, or a fifth less.
    assert 1 <= servicer.asked < 4


async def test_a_connection_has_a_bounded_number_of_streams(tmp_path: Path) -> None:
    """A client that opens streams without end, and sends no request on them, is stopped; another one is served."""
    (port,) = free_ports(1)
    async with described("production", port, tmp_path):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = h2.connection.H2Connection()
        client.initiate_connection()
        head = [(":method", "POST"), (":scheme", "http"), (":authority", "x")]
        head += [(":path", "/shop.users.v1.UserService/Authenticate"), ("te", "trailers")]
        head += [("content-type", "application/grpc")]
        async with asyncio.timeout(10):
            writer.write(client.data_to_send())
            while client.remote_settings.max_concurrent_streams > MAX_STREAMS:
                client.receive_data(await reader.read(65_536))
            for _ in range(client.remote_settings.max_concurrent_streams):
                client.send_headers(client.get_next_available_stream_id(), head)
            with pytest.raises(h2.exceptions.TooManyStreamsError):
                client.send_headers(client.get_next_available_stream_id(), head)
            writer.write(client.data_to_send())
            async with connect(f"127.0.0.1:{port}") as channel:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        writer.close()


async def test_metadata_that_is_no_text_is_not_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bytes in a field that is not read change nothing, a token of bytes is none, and no line is logged."""
    (port,) = free_ports(1)
    async with described("production", port, tmp_path):
        head = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"x"), (b"te", b"trailers")]
        head += [(b"content-type", b"application/grpc")]
        health, me = b"/grpc.health.v1.Health/Check", b"/shop.users.v1.UserService/GetUsers"
        assert await _status(port, [*head, (b":path", health), (b"x-foo", b"\xff\xfe")]) == b"0"
        assert await _status(port, [*head, (b":path", me), (b"authorization", b"Bearer \xff")]) == b"16"
        assert await _status(port, [*head, (b":path", me), (b"traceparent", b"\xff\xfe")]) == b"16"
    assert not caplog.records


async def _status(port: int, head: list[tuple[bytes, bytes]]) -> bytes:
    """The gRPC status of an empty request, sent as no client library would."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    config = h2.config.H2Configuration(header_encoding=None, validate_outbound_headers=False)
    client = h2.connection.H2Connection(config)
    client.initiate_connection()
    ordered = sorted(head, key=lambda field: not field[0].startswith(b":"))
    client.send_headers(1, ordered)
    client.send_data(1, b"\0\0\0\0\0", end_stream=True)
    writer.write(client.data_to_send())
    async with asyncio.timeout(10):
        while True:
            for event in client.receive_data(await reader.read(65_536)):
                fields: Any = getattr(event, "headers", None) or ()
                if b"grpc-status" in dict(fields):
                    writer.close()
                    return bytes(dict(fields)[b"grpc-status"])


@pytest.mark.parametrize("env", ["development", "production"])
async def test_reflection_is_off_in_production(tmp_path: Path, env: str) -> None:
    """In development a service describes itself; in production that is UNIMPLEMENTED, while health still answers."""
    (port,) = free_ports(1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(described(env, port, tmp_path))
        if env == "production":
            with pytest.raises(grpc.RpcError) as caught:
                await described_services(port)
            assert cast("grpc.Call", caught.value).code() is grpc.StatusCode.UNIMPLEMENTED
        else:
            assert {"shop.users.v1.UserService", "grpc.health.v1.Health"} <= await described_services(port)


async def test_the_console_s_reflection_is_off_in_production(tmp_path: Path) -> None:
    """The server that takes spans is no exception."""
    page, otlp = free_ports(2)
    settings = console.Settings(env="production", data_dir=tmp_path, console_port=page, console_otlp_port=otlp)
    async with console.run(settings):
        with pytest.raises(grpc.RpcError) as caught:
            await described_services(otlp)
        assert cast("grpc.Call", caught.value).code() is grpc.StatusCode.UNIMPLEMENTED


@asynccontextmanager
async def described(env: str, port: int, data_dir: Path) -> AsyncIterator[None]:
    """The users service, as it runs in this environment."""
    settings = users.Settings(
        env=cast("Any", env),
        users_port=port,
        data_dir=data_dir,
        otlp_url="",
        demo_data=False,
        service_secrets={},
    )
    async with users.run(settings):
        yield

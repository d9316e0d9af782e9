"""Copies of notifier on a real broker, with fakes of users and orders beside them, and real WebSocket clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import websockets
from prometheus_client.parser import text_string_to_metric_families

from chassis.auth.identity import TokenVerifier, anyone, current_principal, signed_in
from chassis.broker import connect
from chassis.broker.port import Broker, Event, Topology
from chassis.broker.retention import Retention
from chassis.errors import not_found
from chassis.grpc.server import serve
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY as TOPOLOGY_FILE
from protos.shop.orders.v1 import orders_pb2, orders_pb2_grpc
from protos.shop.users.v1 import users_pb2, users_pb2_grpc
from services.notifier import bootstrap
from services.users.tokens import JwtSigner, new_signing_key
from tests.rabbitmq import own_rabbitmq
from tests.waiting import eventually

TOPOLOGY = Topology.load(TOPOLOGY_FILE)
KEY = new_signing_key()
# Seconds for a message, or the end of a connection, to arrive.
TIMEOUT = 60.0


def token(subject: str = "123", role: str = "customer", *, lifetime: int = 900) -> str:
    """A token as users would issue it."""
    return JwtSigner([KEY], lifetime=lifetime).sign(subject, role)[0]


def an_event(type_: str = "order.paid", *, owner: str = "123", subject: str = "o1", **data: object) -> Event:
    """An event as the services publish it."""
    extensions = {"traceparent": f"00-{uuid4().hex}-00f067aa0ba902b7-01"} | ({"userid": owner} if owner else {})
    body = json.dumps({"order_id": subject, **data}).encode()
    return Event(uuid4().hex, type_, "/orders", subject, datetime.now(UTC), body, extensions)


def numbered(first: int, last: int) -> list[Event]:
    """Events with a number."""
    return [an_event(number=number) for number in range(first, last + 1)]


class FakeUsers(users_pb2_grpc.UserServiceServicer):
    """Has the key that signs this test's tokens."""

    async def GetJwks(self, request: Any, context: Any) -> users_pb2.GetJwksResponse:  # noqa: N802
        return users_pb2.GetJwksResponse(jwks_json=JwtSigner([KEY], lifetime=1).jwks())


class FakeOrders(orders_pb2_grpc.OrderServiceServicer):
    """Has the orders in `ids`, "o1" at first, all of user 123, and records who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ids = {"o1"}

    async def GetOrder(self, request: Any, context: Any) -> orders_pb2.GetOrderResponse:  # noqa: N802
        caller = current_principal()
        self.asked.append(caller.subject)
        if request.id not in self.ids or not (caller.is_admin or caller.subject == "123"):
            raise not_found("order", request.id)
        return orders_pb2.GetOrderResponse(order=orders_pb2.Order(id=request.id, user_id="123"))


class Client:
    """One WebSocket client."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def send(self, **frame: object) -> None:
        await self.socket.send(json.dumps(frame))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
        return frame

    async def subscribe(self, *topics: str, after: str | None = None) -> str:
        """Subscribe and return the position from which everything will come."""
        await self.send(action="subscribe", topics=topics, **({} if after is None else {"after": after}))
        answer = await self.receive()
        assert answer["type"] == "subscribed", answer
        return str(answer["position"])

    async def events(self, count: int) -> list[dict[str, Any]]:
        return [await self.receive() for _ in range(count)]

    async def close_code(self) -> int | None:
        """Read on until the server closes."""
        async with asyncio.timeout(TIMEOUT):
            await self.socket.wait_closed()
        return self.socket.close_code

    async def silence(self) -> None:
        """Nothing is on its way: what was sent before is answered, and the answer is the next frame."""
        await self.send(action="ping")
        assert (await self.receive())["type"] == "pong"


@dataclass
class Copy:
    """One running notifier."""

    port: int

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/notifications"

    @property
    def stream_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/notifications/stream"

    async def is_ready(self) -> bool:
        async with httpx.AsyncClient(timeout=60) as http:
            return (await http.get(f"http://127.0.0.1:{self.port}/readyz")).status_code == 200

    @asynccontextmanager
    async def client(self, token_: str | None = None, **arguments: Any) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {token_ or token()}"}
        # Unbounded: a client whose queue is full does not see the end of the connection, its own neither.
        arguments = {"max_queue": None, "open_timeout": 60, **arguments}
        async with websockets.connect(self.url, additional_headers=headers, **arguments) as socket:
            yield Client(socket)


async def counted(copy: Copy, name: str, **labels: str) -> float:
    """A value of `/metrics`."""
    async with httpx.AsyncClient(timeout=60) as http:
        response = await http.get(f"http://127.0.0.1:{copy.port}/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for family in text_string_to_metric_families(response.text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    raise AssertionError(f"{name} is not counted")


@dataclass
class Stage:
    """What copies of notifier need."""

    data_dir: Path
    broker_url: str
    broker: Broker
    log_url: str = ""
    users_address: str = ""
    orders_address: str = ""
    orders: FakeOrders = field(default_factory=FakeOrders)

    @asynccontextmanager
    async def notifier(self, *, broker: Broker | None = None, **changes: Any) -> AsyncIterator[Copy]:
        """One more copy, which has begun to read the event log unless it was given a broker that may be broken."""
        settings = bootstrap.Settings(
            **{
                "data_dir": self.data_dir,
                "otlp_url": "",
                "broker_url": self.broker_url,
                "event_log_url": self.log_url,
                "notifier_port": 0,
                "users_address": self.users_address,
                "orders_address": self.orders_address,
                **changes,
            }
        )
        async with bootstrap.run(settings, broker=broker) as running:
            copy = Copy(running.port)
            if broker is None:
                await eventually(copy.is_ready)
            yield copy


@asynccontextmanager
async def staged(
    data_dir: Path, broker_url: str, retention: Retention | None = None, *, log_url: str = ""
) -> AsyncIterator[Stage]:
    broker = await connect(broker_url, TOPOLOGY, retention=retention, log_url=log_url)
    stage = Stage(data_dir, broker_url, broker, log_url)
    spans = Telemetry("test")

    async def jwks() -> str:
        return JwtSigner([KEY], lifetime=1).jwks()

    async with AsyncExitStack() as stack:
        stack.push_async_callback(broker.close)
        common: dict[str, Any] = {
            "telemetry": spans,
            "host": "127.0.0.1",
            "port": 0,
            "verifier": TokenVerifier(jwks),
            "reflection": False,
        }
        users_port = await stack.enter_async_context(
            serve(
                (users_pb2_grpc.add_UserServiceServicer_to_server, FakeUsers()),  # type: ignore[abstract] # gRPC answers UNIMPLEMENTED
                policy={"GetJwks": anyone},
                **common,
            )
        )
        orders_port = await stack.enter_async_context(
            serve(
                (orders_pb2_grpc.add_OrderServiceServicer_to_server, stage.orders),
                policy={"GetOrder": signed_in},
                **common,
            )
        )
        stage.users_address = f"127.0.0.1:{users_port}"
        stage.orders_address = f"127.0.0.1:{orders_port}"
        yield stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """On the embedded broker."""
    async with staged(tmp_path, f"embedded:{tmp_path / 'broker.sqlite'}") as found:
        yield found


@pytest.fixture(params=["embedded", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
async def any_stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """On each broker in turn."""
    if request.param == "embedded":
        async with staged(tmp_path, f"embedded:{tmp_path / 'broker.sqlite'}") as found:
            yield found
    else:
        async with own_rabbitmq(TOPOLOGY) as url, staged(tmp_path, url) as found:
            yield found


@pytest.fixture
async def forgetful_stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """On an embedded broker whose log keeps few events."""
    async with staged(tmp_path, f"embedded:{tmp_path / 'broker.sqlite'}", Retention(events=10)) as found:
        yield found

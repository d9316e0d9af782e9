"""Outgoing webhooks in a running worker, a partner that receives them, and users who own endpoints."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from chassis.auth.identity import no_token
from chassis.broker import connect as connect_broker
from chassis.broker.port import Broker, Event, Topology
from chassis.grpc.client import Client, connect
from chassis.http.server import serve_http
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from protos.shop.users.v1.users_pb2 import IssueTokenRequest
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookAdminServiceStub, WebhookEndpointServiceStub
from services.users import bootstrap as users
from tests.webhooks.conftest import FakeShop, worker_settings_for
from webhooks.worker import WorkerSettings, run_worker

CUSTOMER, OTHER, ADMIN = "123", "456", "1"
SPANS = Telemetry("test")


@dataclass
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Partner:
    """Answers each request to a path with the next of its statuses, or 200; `open` is whether it answers at all.

    `retry_after` is a path's header in every answer that is not 200.
    """

    url: str = ""
    statuses: dict[str, list[int]] = field(default_factory=dict)
    retry_after: dict[str, str] = field(default_factory=dict)
    requests: list[Received] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self, request: Request) -> Response:
        path = request.url.path
        body = await request.body()
        self.requests.append(Received(path, dict(request.headers), body))
        if path == "/slow":
            await self.open.wait()
        if path == "/endless":
            return StreamingResponse(self._endless())
        if path == "/redirect":
            return Response(status_code=307, headers={"location": f"{self.url}/target"})
        statuses = self.statuses.get(path, [])
        status = statuses.pop(0) if statuses else 200
        headers = {"retry-after": self.retry_after[path]} if status != 200 and path in self.retry_after else {}
        return Response(b"noted " * 1_000, status, headers)

    async def _endless(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10_000
            await asyncio.sleep(0)

    def of(self, path: str) -> list[Received]:
        return [request for request in self.requests if request.path == path]


@asynccontextmanager
async def partner() -> AsyncIterator[Partner]:
    fake = Partner()
    app = Starlette(routes=[Route("/{path:path}", fake.receive, methods=["GET", "POST"])])
    async with serve_http(app, host="127.0.0.1", port=0, drain=0) as port:
        fake.url = f"http://127.0.0.1:{port}"
        try:
            yield fake
        finally:
            fake.open.set()


@dataclass
class Api:
    """shop.webhooks.v1 as one user calls it."""

    endpoints: Any
    admin: Any
    client: Client

    async def register(self, url: str, *event_types: str) -> pb.CreateEndpointResponse:
        request = pb.CreateEndpointRequest(url=url, event_types=event_types)
        created: pb.CreateEndpointResponse = await self.client.call(self.endpoints.CreateEndpoint, request)
        return created

    async def endpoint(self, endpoint_id: str) -> pb.Endpoint:
        request = pb.GetEndpointRequest(id=endpoint_id)
        found: pb.GetEndpointResponse = await self.client.call(self.endpoints.GetEndpoint, request)
        return found.endpoint

    async def deliveries(self, endpoint_id: str) -> list[pb.Delivery]:
        request = pb.ListDeliveriesRequest(endpoint_id=endpoint_id)
        found: pb.ListDeliveriesResponse = await self.client.call(self.endpoints.ListDeliveries, request)
        return list(found.deliveries)

    async def the_delivery(self, endpoint_id: str, status: Literal["pending", "delivered", "failed"]) -> Any:
        """The only delivery, once it has this status; for `eventually`."""
        found = await self.deliveries(endpoint_id)
        return found[0] if [delivery.status for delivery in found] == [status] else None


@dataclass
class Outbound:
    """A running worker, the broker that it consumes from, and its API."""

    settings: WorkerSettings
    shop: FakeShop
    broker: Broker
    users: Any
    stack: AsyncExitStack
    port: int

    async def as_user(self, email: str, password: str = "demo") -> Api:
        channel = await self.stack.enter_async_context(connect(f"127.0.0.1:{self.port}"))

        async def token() -> str:
            return await self.token(email, password)

        client = Client("webhook_worker", SPANS, token=token, timeout=30)
        return Api(WebhookEndpointServiceStub(channel), WebhookAdminServiceStub(channel), client)

    async def token(self, email: str, password: str) -> str:
        request = IssueTokenRequest(email=email, password=password)
        client = Client("users", SPANS, token=no_token, timeout=30)
        return str((await client.call(self.users.IssueToken, request)).access_token)

    async def customer(self) -> Api:
        return await self.as_user("demo@shop.test")

    async def admin(self) -> Api:
        return await self.as_user("admin@shop.test", "admin")

    async def happens(self, event_type: str = "order.paid", *, user_id: str = CUSTOMER, order_id: str = "77") -> Event:
        """Publish an event of an order."""
        event = order_event(event_type, user_id, order_id)
        await self.broker.publish([event])
        return event


def order_event(event_type: str, user_id: str, order_id: str = "77") -> Event:
    data = json.dumps({"order_id": order_id, "user_id": user_id}).encode()
    return Event(uuid.uuid4().hex, event_type, "/orders", order_id, datetime.now(UTC), data, {"userid": user_id})


@asynccontextmanager
async def outbound(directory: Path, **chosen: Any) -> AsyncIterator[Outbound]:
    """A worker in this event loop, and the real users service to sign in at."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        # The product's is a part of the time that a client waits.
        stack.enter_context(pytest.MonkeyPatch.context()).setattr("webhooks.outgoing.addresses._LOOKUP_SECONDS", 20.0)
        accounts = await enter(users.run(users.Settings(users_port=0, otlp_url="", data_dir=directory)))
        address = f"127.0.0.1:{accounts.port}"
        settings = worker_settings_for(directory, **{"users_address": address, **chosen})
        shop = FakeShop()
        broker = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
        stack.push_async_callback(broker.close)
        running = await enter(run_worker(settings, shop=shop))
        stub = UserServiceStub(await enter(connect(address)))
        yield Outbound(settings, shop, broker, stub, stack, running.port)

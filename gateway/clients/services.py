"""The upstreams, one typed stub each: deadline, identity, trace and breaker are `chassis.grpc.client.Client`'s."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1.health_pb2_grpc import HealthStub
from starlette.requests import Request

from chassis.grpc.client import CallObserver, Client, calls
from chassis.observability.tracing import Telemetry
from gateway.clients.http_upstream import HttpUpstream
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub
from protos.shop.storage.v1 import storage_pb2
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceStub
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookEndpointServiceStub

if TYPE_CHECKING:
    from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub
    from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub
    from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceAsyncStub
    from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub
    from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookEndpointServiceAsyncStub

# What gRPC itself may repeat while an upstream is away: reads, and what an idempotency key makes safe.
IDEMPOTENT = {
    "users": [f"shop.users.v1.UserService/{method}" for method in ("IssueToken", "GetJwks", "GetUsers", "GetClient")],
    "catalog": [f"shop.catalog.v1.CatalogService/{method}" for method in ("GetProducts", "ListProducts")],
    "orders": [
        f"shop.orders.v1.OrderService/{method}"
        for method in ("PlaceOrder", "GetOrder", "GetOrders", "ListOrders", "ListOrderEvents")
    ],
    "inventory": ["shop.inventory.v1.InventoryService/CheckAvailability"],
    "storage": ["shop.storage.v1.StorageService/StatFile"],
    "webhooks": [
        f"shop.webhooks.v1.WebhookEndpointService/{method}"
        for method in ("ListEndpoints", "GetEndpoint", "ListDeliveries")
    ],
    "reports": ["shop.reports.v1.ReportService/GetSales"],
}
# Without these the shop still sells, so the edge is ready without them.
_OPTIONAL = frozenset({"webhooks", "reports"})


# The largest piece of a file that the contract allows, and how a message with one begins.
PIECE = 256 << 10
_FULL = storage_pb2.Chunk(data=bytes(PIECE)).SerializeToString()[:-PIECE]
# A piece of a file in the parts that it arrived in.
Parts = Sequence[bytes | memoryview]


class StorageClient:
    def __init__(self, channel: grpc.aio.Channel, client: Client, *, transfer_budget: float) -> None:
        """`transfer_budget`: seconds for a whole upload or download."""
        self._stub: StorageServiceAsyncStub = StorageServiceStub(channel)
        self._client = client
        self._transfer_budget = transfer_budget

    async def stat(self, file_id: str) -> storage_pb2.FileInfo:
        return (await self._client.call(self._stub.StatFile, storage_pb2.StatFileRequest(id=file_id))).file

    async def upload(self, header: storage_pb2.UploadHeader, pieces: AsyncIterator[Parts]) -> storage_pb2.FileInfo:
        """Store a file; no piece may have more than `PIECE` bytes, and most should have as many."""
        async with aclosing(_messages(header, pieces)) as messages:
            response = await self._client.upload(self._stub.UploadFile, messages, timeout=self._transfer_budget)
        return response.file

    async def download(self, file_id: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """The bytes from an offset on; all the rest for a length of 0."""
        request = storage_pb2.FileRequest(id=file_id, offset=offset, length=length)
        chunks = self._client.stream(self._stub.DownloadFile, request, timeout=self._transfer_budget)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk.data


async def _messages(header: storage_pb2.UploadHeader, pieces: AsyncIterator[Parts]) -> AsyncGenerator[bytes, None]:
    yield storage_pb2.Chunk(header=header).SerializeToString()
    async for parts in pieces:
        if sum(map(len, parts)) == PIECE:
            # Each byte is copied once; protobuf does it three times.
            yield b"".join((_FULL, *parts))
        else:
            yield storage_pb2.Chunk(data=b"".join(parts)).SerializeToString()


@dataclass(frozen=True, slots=True)
class HttpServers:
    """The servers behind the edge that speak HTTP themselves. `console` is None where there is none."""

    graphql: HttpUpstream
    mcp: HttpUpstream
    console: HttpUpstream | None = None


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Everything behind the edge. `health` maps an upstream's name to its health check.

    `passwords` makes the calls that hash one: its breaker is its own, for only those are slow under a flood.
    """

    users: UserServiceAsyncStub
    passwords: UserServiceAsyncStub
    catalog: CatalogServiceAsyncStub
    orders: OrderServiceAsyncStub
    inventory: InventoryServiceAsyncStub
    storage: StorageClient
    webhook_endpoints: WebhookEndpointServiceAsyncStub
    reports: ReportServiceAsyncStub
    http: HttpServers
    health: dict[str, HealthStub]


def upstreams(request: Request) -> Upstreams:
    """The upstreams of a request's application."""
    found: Upstreams = request.app.state.upstreams
    return found


def connected(
    channels: Mapping[str, grpc.aio.Channel],
    http: HttpServers,
    telemetry: Telemetry,
    transfer_budget: float,
    observer: CallObserver,
) -> Upstreams:
    """The upstreams behind these channels, by name; `transfer_budget` is seconds for a file's whole way."""
    clients = {name: Client(name, telemetry, observer=observer) for name in channels}
    return Upstreams(
        calls(UserServiceStub(channels["users"]), clients["users"]),
        calls(UserServiceStub(channels["users"]), Client("users", telemetry, observer=observer)),
        calls(CatalogServiceStub(channels["catalog"]), clients["catalog"]),
        calls(OrderServiceStub(channels["orders"]), clients["orders"]),
        calls(InventoryServiceStub(channels["inventory"]), clients["inventory"]),
        StorageClient(channels["storage"], clients["storage"], transfer_budget=transfer_budget),
        calls(WebhookEndpointServiceStub(channels["webhooks"]), Client("webhook_worker", telemetry)),
        calls(ReportServiceStub(channels["reports"]), clients["reports"]),
        http,
        {name: HealthStub(channel) for name, channel in channels.items() if name not in _OPTIONAL},
    )

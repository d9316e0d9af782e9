"""The upstreams, one typed stub each: deadline, identity, trace and breaker are `chassis.grpc.client.Client`'s."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1.health_pb2_grpc import HealthStub
from starlette.requests import Request

from chassis.grpc.client import CallObserver, Client, calls
from chassis.observability.tracing import Telemetry
from gateway.clients.http_upstream import HttpUpstream
from gateway.clients.storage import StorageClient
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceStub
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from protos.shop.webhooks.v1.webhooks_pb2_grpc import WebhookEndpointServiceStub

if TYPE_CHECKING:
    from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub
    from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub
    from protos.shop.reports.v1.reports_pb2_grpc import ReportServiceAsyncStub
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
    timeout: float,
    transfer_budget: float,
    observer: CallObserver,
) -> Upstreams:
    """The upstreams behind these channels, by name.

    Seconds: `timeout` for a call, `transfer_budget` for a file's whole way.
    """
    client = partial(Client, telemetry=telemetry, timeout=timeout)
    clients = {name: client(name, observer=observer) for name in channels}
    return Upstreams(
        calls(UserServiceStub(channels["users"]), clients["users"]),
        calls(UserServiceStub(channels["users"]), client("users", observer=observer)),
        calls(CatalogServiceStub(channels["catalog"]), clients["catalog"]),
        calls(OrderServiceStub(channels["orders"]), clients["orders"]),
        calls(InventoryServiceStub(channels["inventory"]), clients["inventory"]),
        StorageClient(channels["storage"], clients["storage"], transfer_budget=transfer_budget),
        calls(WebhookEndpointServiceStub(channels["webhooks"]), client("webhook_worker")),
        calls(ReportServiceStub(channels["reports"]), clients["reports"]),
        http,
        {name: HealthStub(channel) for name, channel in channels.items() if name not in _OPTIONAL},
    )

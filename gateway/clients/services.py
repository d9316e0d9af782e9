"""The upstreams, one typed client each: deadline, identity, trace and breaker are `chassis.grpc.client.Client`'s."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
from grpc_health.v1.health_pb2_grpc import HealthStub
from starlette.requests import Request

from chassis.grpc.client import CallObserver, Client
from chassis.observability.tracing import Telemetry
from gateway.clients.http_upstream import HttpUpstream
from gateway.clients.reports import IDEMPOTENT as REPORTS
from gateway.clients.reports import ReportsClient
from gateway.clients.webhook_endpoints import IDEMPOTENT as WEBHOOK_ENDPOINTS
from gateway.clients.webhook_endpoints import WebhookEndpointsClient
from protos.shop.catalog.v1 import catalog_pb2
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.inventory.v1 import inventory_pb2
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1 import orders_pb2
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.storage.v1 import storage_pb2
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceStub
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub

if TYPE_CHECKING:
    from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceAsyncStub
    from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub
    from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceAsyncStub
    from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub

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
    "webhooks": WEBHOOK_ENDPOINTS,
    "reports": REPORTS,
}
# Without these the shop still sells, so the edge is ready without them.
_OPTIONAL = frozenset({"webhooks", "reports"})


class UsersClient:
    def __init__(self, channel: grpc.aio.Channel, client: Client, passwords: Client) -> None:
        """`passwords` makes the calls that hash one: its breaker is its own, for only those are slow under a flood."""
        self._stub: UserServiceAsyncStub = UserServiceStub(channel)
        self._client = client
        self._passwords = passwords

    async def issue_token(self, email: str, password: str) -> users_pb2.IssueTokenResponse:
        request = users_pb2.IssueTokenRequest(email=email, password=password)
        return await self._passwords.call(self._stub.IssueToken, request)

    async def jwks(self) -> str:
        return (await self._client.call(self._stub.GetJwks, users_pb2.GetJwksRequest())).jwks_json

    async def register(self, name: str, email: str, password: str) -> users_pb2.User:
        request = users_pb2.RegisterUserRequest(name=name, email=email, password=password)
        return (await self._passwords.call(self._stub.RegisterUser, request)).user

    async def users(self, ids: Sequence[str]) -> Sequence[users_pb2.User]:
        """Those that exist and that the caller may see, in the order of `ids`."""
        return (await self._client.call(self._stub.GetUsers, users_pb2.GetUsersRequest(ids=ids))).users

    async def register_client(self, name: str, redirect_uris: Sequence[str]) -> users_pb2.Client:
        request = users_pb2.RegisterClientRequest(name=name, redirect_uris=redirect_uris)
        return (await self._client.call(self._stub.RegisterClient, request)).client

    async def client(self, client_id: str, redirect_uri: str) -> users_pb2.Client:
        """Raises UNKNOWN_CLIENT, or FOREIGN_REDIRECT for a URI that is not the client's."""
        request = users_pb2.GetClientRequest(client_id=client_id, redirect_uri=redirect_uri)
        return (await self._client.call(self._stub.GetClient, request)).client

    async def authorize_client(self, request: users_pb2.AuthorizeClientRequest) -> str:
        return (await self._passwords.call(self._stub.AuthorizeClient, request)).code

    async def redeem_code(self, request: users_pb2.RedeemCodeRequest) -> users_pb2.RedeemCodeResponse:
        return await self._client.call(self._stub.RedeemCode, request)


class CatalogClient:
    def __init__(self, channel: grpc.aio.Channel, client: Client) -> None:
        self._stub: CatalogServiceAsyncStub = CatalogServiceStub(channel)
        self._client = client

    async def products(self, ids: Sequence[str]) -> Sequence[catalog_pb2.Product]:
        """Those that exist, in the order of `ids`."""
        return (await self._client.call(self._stub.GetProducts, catalog_pb2.GetProductsRequest(ids=ids))).products

    async def page(self, *, category: str, query: str, limit: int, cursor: str) -> catalog_pb2.ListProductsResponse:
        request = catalog_pb2.ListProductsRequest(category=category, query=query, page_size=limit, cursor=cursor)
        return await self._client.call(self._stub.ListProducts, request)

    async def create(self, draft: catalog_pb2.ProductDraft) -> catalog_pb2.Product:
        request = catalog_pb2.CreateProductRequest(draft=draft)
        return (await self._client.call(self._stub.CreateProduct, request)).product

    async def update(
        self, product_id: str, draft: catalog_pb2.ProductDraft, version: int | None
    ) -> catalog_pb2.Product:
        """Raises VERSION_MISMATCH when a version is given and it is not the current one."""
        request = catalog_pb2.UpdateProductRequest(id=product_id, draft=draft, if_version=version)
        return (await self._client.call(self._stub.UpdateProduct, request)).product

    async def delete(self, product_id: str, version: int | None) -> None:
        """Raises VERSION_MISMATCH when a version is given and it is not the current one."""
        request = catalog_pb2.DeleteProductRequest(id=product_id, if_version=version)
        await self._client.call(self._stub.DeleteProduct, request)


class OrdersClient:
    def __init__(self, channel: grpc.aio.Channel, client: Client) -> None:
        self._stub: OrderServiceAsyncStub = OrderServiceStub(channel)
        self._client = client

    async def place(self, items: Sequence[orders_pb2.NewItem], idempotency_key: str) -> orders_pb2.PlaceOrderResponse:
        request = orders_pb2.PlaceOrderRequest(items=items, idempotency_key=idempotency_key)
        return await self._client.call(self._stub.PlaceOrder, request)

    async def order(self, order_id: str) -> orders_pb2.Order:
        return (await self._client.call(self._stub.GetOrder, orders_pb2.GetOrderRequest(id=order_id))).order

    async def several(self, ids: Sequence[str]) -> Sequence[orders_pb2.Order]:
        """Those that exist and that the caller may see, in the order of `ids`."""
        return (await self._client.call(self._stub.GetOrders, orders_pb2.GetOrdersRequest(ids=ids))).orders

    async def page(self, *, user_ids: Sequence[str], limit: int, cursor: str) -> orders_pb2.ListOrdersResponse:
        request = orders_pb2.ListOrdersRequest(user_ids=user_ids, page_size=limit, cursor=cursor)
        return await self._client.call(self._stub.ListOrders, request)

    async def cancel(self, order_id: str) -> orders_pb2.Order:
        return (await self._client.call(self._stub.CancelOrder, orders_pb2.CancelOrderRequest(id=order_id))).order

    async def events(self, order_id: str) -> Sequence[orders_pb2.OrderEvent]:
        request = orders_pb2.ListOrderEventsRequest(order_id=order_id)
        return (await self._client.call(self._stub.ListOrderEvents, request)).events


class InventoryClient:
    def __init__(self, channel: grpc.aio.Channel, client: Client) -> None:
        self._stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
        self._client = client

    async def availability(self, product_ids: Sequence[str]) -> Sequence[inventory_pb2.Availability]:
        """The stock available now according to the ERP, without products never stocked."""
        request = inventory_pb2.CheckAvailabilityRequest(product_ids=product_ids, live=True)
        return (await self._client.call(self._stub.CheckAvailability, request)).items


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
    """Everything behind the edge. `health` maps an upstream's name to its health check."""

    users: UsersClient
    catalog: CatalogClient
    orders: OrdersClient
    inventory: InventoryClient
    storage: StorageClient
    webhook_endpoints: WebhookEndpointsClient
    reports: ReportsClient
    http: HttpServers
    health: dict[str, HealthStub]


def upstreams(request: Request) -> Upstreams:
    """The upstreams of the application that a request came to."""
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
        UsersClient(channels["users"], clients["users"], Client("users", telemetry, observer=observer)),
        CatalogClient(channels["catalog"], clients["catalog"]),
        OrdersClient(channels["orders"], clients["orders"]),
        InventoryClient(channels["inventory"], clients["inventory"]),
        StorageClient(channels["storage"], clients["storage"], transfer_budget=transfer_budget),
        WebhookEndpointsClient(channels["webhooks"], telemetry),
        ReportsClient(channels["reports"], clients["reports"]),
        http,
        {name: HealthStub(channel) for name, channel in channels.items() if name not in _OPTIONAL},
    )

"""Working fakes of what stands behind the gateway, and the harness that runs the real gateway before them."""

# ruff: noqa: N802  # gRPC names the methods

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import grpc.aio
import httpx
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.auth.identity import admin, anyone, current_principal, signed_in
from chassis.errors import Kind, ShopError, not_found
from chassis.grpc.identity_provider import identity_provider
from chassis.grpc.server import Policy, serve
from chassis.observability.tracing import Telemetry
from chassis.resilience.deadlines import time_left
from gateway import bootstrap as gateway
from protos.shop.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from protos.shop.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from protos.shop.orders.v1 import orders_pb2, orders_pb2_grpc
from protos.shop.reports.v1 import reports_pb2, reports_pb2_grpc
from protos.shop.storage.v1 import storage_pb2, storage_pb2_grpc
from protos.shop.users.v1 import users_pb2
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.users import bootstrap as users
from services.users.ports import Passwords

if TYPE_CHECKING:
    from protos.shop.users.v1.users_pb2_grpc import UserServiceAsyncStub

NOON = Timestamp(seconds=1_767_614_400, nanos=250_000_000)  # 2026-01-05T12:00:00.25Z


@dataclass
class Behaviour:
    """What a fake does beside its work: `failure` is raised by every call, `silent` ones never answer, `held` ones wait
    with their answer until it is set; the lists hold what the calls came with.
    """

    failure: Exception | None = None
    silent: bool = False
    held: asyncio.Event | None = None
    requests: list[Any] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    seconds_left: list[float | None] = field(default_factory=list)

    async def note(self, request: Any) -> None:
        self.requests.append(request)
        self.callers.append(current_principal().subject)
        self.seconds_left.append(time_left())
        if self.silent:
            await asyncio.Event().wait()
        if self.held:
            await self.held.wait()
        if self.failure:
            raise self.failure


class FakeCatalog(catalog_pb2_grpc.CatalogServiceServicer):
    POLICY: ClassVar[Policy] = {
        "GetProducts": anyone,
        "ListProducts": anyone,
        "CreateProduct": admin,
        "UpdateProduct": admin,
        "DeleteProduct": admin,
    }

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.products = {
            each: catalog_pb2.Product(
                id=each,
                name=f"Product {each}",
                category="books",
                price="49.00",
                currency="EUR",
                updated_at=NOON,
                version=3,
            )
            for each in ("42", "123")
        }

    async def GetProducts(self, request: Any, context: Any) -> catalog_pb2.GetProductsResponse:
        found = [self.products[each] for each in request.ids if each in self.products]
        response = catalog_pb2.GetProductsResponse(products=found)  # as they are now, however late it is answered
        await self.behaviour.note(request)
        return response

    async def ListProducts(self, request: Any, context: Any) -> catalog_pb2.ListProductsResponse:
        await self.behaviour.note(request)
        return catalog_pb2.ListProductsResponse(products=self.products.values(), next_cursor="bmV4dA")

    async def CreateProduct(self, request: Any, context: Any) -> catalog_pb2.CreateProductResponse:
        await self.behaviour.note(request)
        return catalog_pb2.CreateProductResponse(product=self._write("new", request.draft, 1))

    async def UpdateProduct(self, request: Any, context: Any) -> catalog_pb2.UpdateProductResponse:
        await self.behaviour.note(request)
        self._check(request)
        product = self._write(request.id, request.draft, self.products[request.id].version + 1)
        return catalog_pb2.UpdateProductResponse(product=product)

    async def DeleteProduct(self, request: Any, context: Any) -> catalog_pb2.DeleteProductResponse:
        await self.behaviour.note(request)
        self._check(request)
        del self.products[request.id]
        return catalog_pb2.DeleteProductResponse()

    def _check(self, request: Any) -> None:
        product = self.products.get(request.id)
        if product is None:
            raise not_found("product", request.id)
        if request.HasField("if_version") and request.if_version != product.version:
            raise ShopError("VERSION_MISMATCH", "has changed meanwhile", Kind.PRECONDITION)

    def _write(self, product_id: str, draft: Any, version: int) -> catalog_pb2.Product:
        product = self.products.setdefault(product_id, catalog_pb2.Product(id=product_id, updated_at=NOON))
        for descriptor, value in draft.ListFields():
            setattr(product, descriptor.name, value)
        product.version = version
        return product


class FakeOrders(orders_pb2_grpc.OrderServiceServicer):
    POLICY: ClassVar[Policy] = dict.fromkeys(
        ("PlaceOrder", "GetOrder", "GetOrders", "ListOrders", "CancelOrder", "ListOrderEvents"), signed_in
    )

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.by_key: dict[str, orders_pb2.PlaceOrderRequest] = {}
        self.version = 1

    async def PlaceOrder(self, request: Any, context: Any) -> orders_pb2.PlaceOrderResponse:
        await self.behaviour.note(request)
        replayed = request.idempotency_key in self.by_key
        known = self.by_key.setdefault(request.idempotency_key, request)
        if known != request:
            raise ShopError("IDEMPOTENCY_KEY_REUSED", "used for another order", Kind.PRECONDITION)
        order = self._order(f"order-{list(self.by_key).index(request.idempotency_key)}")
        return orders_pb2.PlaceOrderResponse(order=order, replayed=replayed)

    async def GetOrder(self, request: Any, context: Any) -> orders_pb2.GetOrderResponse:
        await self.behaviour.note(request)
        if request.id != "123":
            raise not_found("order", request.id)
        return orders_pb2.GetOrderResponse(order=self._order("123"))

    async def GetOrders(self, request: Any, context: Any) -> orders_pb2.GetOrdersResponse:
        await self.behaviour.note(request)
        return orders_pb2.GetOrdersResponse(orders=[self._order(each) for each in request.ids if each == "123"])

    async def ListOrders(self, request: Any, context: Any) -> orders_pb2.ListOrdersResponse:
        await self.behaviour.note(request)
        return orders_pb2.ListOrdersResponse(orders=[self._order("123")], next_cursor="")

    async def CancelOrder(self, request: Any, context: Any) -> orders_pb2.CancelOrderResponse:
        await self.behaviour.note(request)
        return orders_pb2.CancelOrderResponse(order=self._order(request.id))

    async def ListOrderEvents(self, request: Any, context: Any) -> orders_pb2.ListOrderEventsResponse:
        await self.behaviour.note(request)
        event = orders_pb2.OrderEvent(
            id="e1", type="order.placed", sequence=1, time=NOON, data_json='{"order_id":"123"}'
        )
        return orders_pb2.ListOrderEventsResponse(events=[event])

    def _order(self, order_id: str) -> orders_pb2.Order:
        return orders_pb2.Order(
            id=order_id,
            user_id=current_principal().subject,
            status="pending",
            items=[orders_pb2.OrderItem(product_id="42", name="Product 42", quantity=2, unit_price="49.00")],
            total="98.00",
            currency="EUR",
            placed_at=NOON,
            version=self.version,
        )


class FakeInventory(inventory_pb2_grpc.InventoryServiceServicer):
    POLICY: ClassVar[Policy] = {"CheckAvailability": anyone}

    def __init__(self) -> None:
        self.behaviour = Behaviour()

    async def CheckAvailability(self, request: Any, context: Any) -> inventory_pb2.CheckAvailabilityResponse:
        await self.behaviour.note(request)
        items = [
            inventory_pb2.Availability(product_id=each, available=17, stale=not request.live, as_of=NOON)
            for each in request.product_ids
            if each == "42"
        ]
        return inventory_pb2.CheckAvailabilityResponse(items=items)


class FakeStorage(storage_pb2_grpc.StorageServiceServicer):
    POLICY: ClassVar[Policy] = {"UploadFile": signed_in, "DownloadFile": anyone, "StatFile": anyone}

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.files: dict[str, tuple[storage_pb2.FileInfo, bytes]] = {}
        self.pieces: list[int] = []
        self.broken = 0

    def hold(self, file_id: str, content: bytes, *, public: bool = True) -> None:
        info = storage_pb2.FileInfo(
            id=file_id,
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            content_type="text/plain",
            owner_id=current_principal().subject,
            public=public,
        )
        self.files[file_id] = info, content

    async def UploadFile(self, request_iterator: AsyncIterator[Any], context: Any) -> storage_pb2.UploadResponse:
        header = (await anext(aiter(request_iterator))).header
        await self.behaviour.note(header)
        content = bytearray()
        try:
            async for chunk in request_iterator:
                self.pieces.append(len(chunk.data))
                content += chunk.data
            # To grpc.aio a stream that broke off may look like one that ended; sending something distinguishes them.
            await context.send_initial_metadata(())
        except (grpc.aio.InternalError, asyncio.CancelledError):
            self.broken += 1
            raise
        if header.sha256 and hashlib.sha256(content).hexdigest() != header.sha256:
            raise ShopError("DIGEST_MISMATCH", "something else has arrived", Kind.INVALID)
        self.hold("new", bytes(content), public=header.public)
        return storage_pb2.UploadResponse(file=self.files["new"][0])

    async def DownloadFile(self, request: Any, context: Any) -> AsyncIterator[storage_pb2.Chunk]:
        await self.behaviour.note(request)
        content = self._file(request.id)[1][request.offset :]
        content = content[: request.length] if request.length else content
        for start in range(0, len(content), 100_000):
            yield storage_pb2.Chunk(data=content[start : start + 100_000])

    async def StatFile(self, request: Any, context: Any) -> storage_pb2.StatFileResponse:
        return storage_pb2.StatFileResponse(file=self._file(request.id)[0])

    def _file(self, file_id: str) -> tuple[storage_pb2.FileInfo, bytes]:
        if file_id not in self.files:
            raise not_found("file", file_id)
        return self.files[file_id]


class FakeReports(reports_pb2_grpc.ReportServiceServicer):
    POLICY: ClassVar[Policy] = {"GetSales": admin}

    def __init__(self) -> None:
        self.behaviour = Behaviour()

    async def GetSales(self, request: Any, context: Any) -> reports_pb2.GetSalesResponse:
        await self.behaviour.note(request)
        row = reports_pb2.SalesRow(key="2026-01-05", currency="EUR", orders=3, quantity=5, revenue="245.00")
        return reports_pb2.GetSalesResponse(
            rows=[row], next_cursor="bmV4dA", first_day="2026-01-01", last_day="2026-01-31", since=NOON, as_of=NOON
        )


@dataclass
class Shop:
    """A running gateway with everything behind it."""

    settings: gateway.Settings
    users: UserServiceAsyncStub
    client: httpx.AsyncClient
    catalog: FakeCatalog
    orders: FakeOrders
    inventory: FakeInventory
    storage: FakeStorage
    reports: FakeReports

    async def token(self, email: str = "demo@shop.test", password: str = "demo") -> str:
        response = await self.client.post("/v1/auth/token", data={"username": email, "password": password})
        response.raise_for_status()
        token: str = response.json()["access_token"]
        return token

    async def service_token(self, service: str, secret: str) -> str:
        request = users_pb2.IssueServiceTokenRequest(service=service, secret=secret)
        return (await self.users.IssueServiceToken(request)).access_token

    async def signed_in(self, email: str = "demo@shop.test", password: str = "demo") -> dict[str, str]:
        """The headers of a signed-in user."""
        return {"authorization": f"Bearer {await self.token(email, password)}"}

    async def admin(self) -> dict[str, str]:
        return await self.signed_in("admin@shop.test", "admin")


@asynccontextmanager
async def running_shop(
    folder: Path,
    spans: Telemetry,
    *,
    service_secrets: Mapping[str, str] | None = None,
    passwords: Passwords | None = None,
    **settings: Any,
) -> AsyncIterator[Shop]:
    """The gateway on a free port, the real users service, and fakes of the rest."""
    # Abstract, mypy says: they have only the methods that the gateway calls.
    fakes = FakeCatalog(), FakeOrders(), FakeInventory(), FakeStorage(), FakeReports()  # type: ignore[abstract]
    catalog, orders, inventory, storage, reports = fakes
    # Without the cache, which would hide from most tests what they look at; its own turn it on.
    quiet = {"otlp_url": "", "data_dir": folder, "edge_cache_bytes": 0}
    # A noisy machine is not what most tests are about.
    patient = {"request_budget": 30.0, "call_timeout": 15.0}
    async with AsyncExitStack() as stack:
        start = stack.enter_async_context
        own = users.Settings(users_port=0, service_secrets=dict(service_secrets or {}), **quiet)  # type: ignore[arg-type]
        users_address = f"127.0.0.1:{(await start(users.run(own, passwords=passwords))).port}"
        users_stub: UserServiceAsyncStub = UserServiceStub(await start(grpc.aio.insecure_channel(users_address)))
        provider = await start(identity_provider(users_address, Telemetry("fakes"), timeout=15))

        async def behind(register: Any, servicer: Any, policy: Policy) -> str:
            port = await start(
                serve(
                    (register, servicer),
                    policy=policy,
                    verifier=provider.verifier,
                    telemetry=Telemetry("fake"),
                    host="127.0.0.1",
                    port=0,
                    reflection=False,
                )
            )
            return f"127.0.0.1:{port}"

        addresses = {
            "catalog_address": await behind(
                catalog_pb2_grpc.add_CatalogServiceServicer_to_server, catalog, catalog.POLICY
            ),
            "orders_address": await behind(orders_pb2_grpc.add_OrderServiceServicer_to_server, orders, orders.POLICY),
            "inventory_address": await behind(
                inventory_pb2_grpc.add_InventoryServiceServicer_to_server, inventory, inventory.POLICY
            ),
            "storage_address": await behind(
                storage_pb2_grpc.add_StorageServiceServicer_to_server, storage, storage.POLICY
            ),
            "reports_address": await behind(
                reports_pb2_grpc.add_ReportServiceServicer_to_server, reports, reports.POLICY
            ),
            "users_address": users_address,
            "graphql_url": "http://127.0.0.1:1",
        }
        chosen = gateway.Settings(gateway_port=0, **{**quiet, **patient, **addresses, **settings})
        process = await start(gateway.run(chosen, spans=spans))
        client = await start(httpx.AsyncClient(base_url=f"http://127.0.0.1:{process.port}", timeout=60))
        yield Shop(chosen, users_stub, client, *fakes)

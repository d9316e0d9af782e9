"""The gRPC services, each served for real on a free port, with fakes of whom they ask."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chassis.auth.identity import TokenVerifier, anyone
from chassis.errors import ShopError, invalid, unavailable
from chassis.grpc.client import Client, connect
from chassis.grpc.server import serve
from chassis.observability.tracing import Telemetry
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.users.v1 import users_pb2, users_pb2_grpc
from services.catalog import bootstrap as catalog
from services.inventory import bootstrap as inventory
from services.inventory.domain import Adjustment
from services.orders import bootstrap as orders
from services.orders.domain import Item
from services.orders.ports import Quote
from services.users import bootstrap as users
from services.users.tokens import JwtSigner, new_signing_key

SIGNER = JwtSigner([new_signing_key()], lifetime=900)
SPANS = Telemetry("test")
# Settings of services whose tests are not about a busy machine.
PATIENT = {"call_timeout": 15.0}


class FakeUsers(users_pb2_grpc.UserServiceServicer):
    """Fake: has the key that signs these tests' tokens, and believes every process."""

    async def GetJwks(self, request: Any, context: Any) -> users_pb2.GetJwksResponse:  # noqa: N802 - gRPC's name
        return users_pb2.GetJwksResponse(jwks_json=SIGNER.jwks())

    async def IssueServiceToken(self, request: Any, context: Any) -> users_pb2.IssueServiceTokenResponse:  # noqa: N802
        token, expires_in = SIGNER.sign(request.service, "service")
        return users_pb2.IssueServiceTokenResponse(access_token=token, expires_in=expires_in)


@asynccontextmanager
async def fake_users(port: int = 0) -> AsyncIterator[int]:
    async def jwks() -> str:
        return SIGNER.jwks()

    async with serve(
        (users_pb2_grpc.add_UserServiceServicer_to_server, FakeUsers()),  # type: ignore[abstract]  # the other methods are not called
        policy={"GetJwks": anyone, "IssueServiceToken": anyone},
        verifier=TokenVerifier(jwks),
        telemetry=SPANS,
        host="127.0.0.1",
        port=port,
    ) as bound:
        yield bound


class FakeCatalog:
    """Fake: sells product 42 for 89.00; `before` runs before each quote."""

    def __init__(self) -> None:
        self.before: Callable[[], Awaitable[None]] | None = None
        self.failure: Exception | None = None

    async def quote(self, basket: Sequence[tuple[str, int]]) -> Quote:
        if self.before is not None:
            await self.before()
        if self.failure is not None:
            raise self.failure
        if any(product_id != "42" for product_id, _ in basket):
            raise invalid("the basket cannot be priced", **{"items[0].product_id": "no such product"})
        price = Decimal("89.00")
        items = [Item(product_id, "Keyboard", quantity, price) for product_id, quantity in basket]
        return Quote(items, sum((item.unit_price * item.quantity for item in items), Decimal("0.00")), "EUR")


class FakeInventory:
    """Fake: has five of everything, or is away."""

    def __init__(self) -> None:
        self.away = False

    async def available(self, product_ids: Sequence[str]) -> Mapping[str, int]:
        if self.away:
            raise unavailable("inventory")
        return dict.fromkeys(product_ids, 5)


class FakeErp:
    """Fake: has the levels it was given, or is away."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self.away = False

    async def stock_levels(self, product_ids: Sequence[str], *, long_timeout: bool = False) -> Mapping[str, int]:
        if self.away:
            raise unavailable("erp_adapter")
        return {key: level for key, level in self.levels.items() if key in product_ids}

    async def book(self, adjustment: Adjustment) -> None:
        if self.away:
            raise unavailable("erp_adapter")


class Caller:
    """A caller of a service; refusals come as `ShopError`."""

    def __init__(self, stub: Any, subject: str, role: str) -> None:
        self._stub = stub
        self._token = SIGNER.sign(subject, role)[0] if role else ""
        self._client = Client("service", SPANS, token=self._own_token, timeout=60.0)

    async def _own_token(self) -> str:
        return self._token

    @property
    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self._token}")] if self._token else []

    async def call(self, method: str, request: Any, *, timeout: float | None = None) -> Any:
        return await self._client.call(getattr(self._stub, method), request, timeout=timeout)

    def stream(self, method: str, request: Any) -> Any:
        return self._client.stream(getattr(self._stub, method), request, timeout=60.0)

    async def refusal(self, method: str, request: Any, *, timeout: float | None = None) -> ShopError:
        """How a call is refused."""
        with pytest.raises(ShopError) as refusal:
            await self.call(method, request, timeout=timeout)
        return refusal.value


@dataclass
class Service:
    """A running service and those who call it."""

    port: int
    stub: Any
    fakes: Any = None
    callers: dict[tuple[str, str], Caller] = field(default_factory=dict)

    def as_(self, subject: str = "", role: str = "customer") -> Caller:
        """A caller: anonymous without a subject."""
        key = (subject, role if subject else "")
        return self.callers.setdefault(key, Caller(self.stub, *key))

    @property
    def admin(self) -> Caller:
        return self.as_("1", "admin")

    def process(self, name: str) -> Caller:
        return self.as_(name, "service")


@asynccontextmanager
async def reached(stub: Any, port: int, fakes: Any = None) -> AsyncIterator[Service]:
    async with connect(f"127.0.0.1:{port}") as channel:
        yield Service(port, stub(channel), fakes)


@pytest.fixture
async def users_address() -> AsyncIterator[str]:
    async with fake_users() as port:
        yield f"127.0.0.1:{port}"


@pytest.fixture
def common(tmp_path: Path, users_address: str) -> dict[str, Any]:
    """Settings that every service here has."""
    return {"data_dir": tmp_path, "otlp_url": "", "demo_data": False, "users_address": users_address} | PATIENT


@pytest.fixture
async def orders_service(common: dict[str, Any]) -> AsyncIterator[Service]:
    fake = FakeCatalog()
    async with (
        orders.run(orders.Settings(**common, orders_port=0), catalog=fake) as running,
        reached(OrderServiceStub, running.port, fake) as service,
    ):
        yield service


@pytest.fixture
async def catalog_service(common: dict[str, Any]) -> AsyncIterator[Service]:
    fake = FakeInventory()
    async with (
        catalog.run(catalog.Settings(**common | {"demo_data": True}, catalog_port=0), inventory=fake) as running,
        reached(CatalogServiceStub, running.port, fake) as service,
    ):
        yield service


@pytest.fixture
async def inventory_service(common: dict[str, Any]) -> AsyncIterator[Service]:
    fake = FakeErp()
    async with (
        inventory.run(inventory.Settings(**common | {"demo_data": True}, inventory_port=0), erp=fake) as running,
        reached(InventoryServiceStub, running.port, fake) as service,
    ):
        yield service


@pytest.fixture
async def users_service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = users.Settings(
        data_dir=tmp_path, otlp_url="", users_port=0, service_secrets={"webhooks": "s3cret", "mailer": ""}
    )
    async with (
        users.run(settings) as running,
        reached(users_pb2_grpc.UserServiceStub, running.port) as service,
    ):
        yield service

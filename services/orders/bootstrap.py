"""The composition root of orders' two processes: the one that answers, and the one that works off the queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from chassis.background import background
from chassis.broker import connect as connect_broker
from chassis.broker.consumer import consuming
from chassis.broker.outbox import Outbox
from chassis.broker.port import Broker, Topology
from chassis.database import database
from chassis.health import showing_health
from chassis.identity_provider import IdentityProvider, identity_provider
from chassis.process import Running
from chassis.rpc import Client, connect
from chassis.rpc_server import serve
from chassis.settings import TOPOLOGY, ProcessSettings
from chassis.telemetry import Telemetry
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1.orders_pb2_grpc import add_OrderServiceServicer_to_server
from services.orders.changes import LogChanges
from services.orders.clients import GrpcCatalog, GrpcErp, GrpcInventory, HttpPayments
from services.orders.consumer import handlers
from services.orders.demo import demo_orders
from services.orders.grpc_api import POLICY, OrderApi
from services.orders.ports import Catalog, Erp, Inventory, Payments
from services.orders.saga import Saga
from services.orders.sql_store import SqlOrderStore, outbox
from services.orders.use_cases import Orders

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    orders_port: int = 50053
    catalog_address: str = "127.0.0.1:50052"


class WorkerSettings(ProcessSettings):
    inventory_address: str = "127.0.0.1:50054"
    erp_adapter_address: str = "127.0.0.1:50056"
    payment_url: str = "http://127.0.0.1:8021"


@asynccontextmanager
async def run(settings: Settings | None = None, *, catalog: Catalog | None = None) -> AsyncIterator[Running]:
    """Serve shop.orders.v1 until the block ends."""
    settings = settings or Settings()
    async with AsyncExitStack() as stack:
        spans, provider, broker, out, store = await _foundation(stack, "orders", settings)
        enter = stack.enter_async_context
        if catalog is None:
            channel = await enter(
                connect(
                    settings.catalog_address,
                    idempotent=["shop.catalog.v1.CatalogService/QuoteItems"],
                    tls=settings.tls("orders"),
                )
            )
            catalog = GrpcCatalog(CatalogServiceStub(channel), Client("catalog", spans))
        if settings.demo():
            await store.add_demo(demo_orders())
        changes = LogChanges(broker)
        await enter(background(out.relay(), changes.follow()))
        port = await enter(
            serve(
                (add_OrderServiceServicer_to_server, OrderApi(Orders(store, catalog, changes))),
                names=["shop.orders.v1.OrderService"],
                policy=POLICY,
                verifier=provider.verifier,
                telemetry=spans,
                host=settings.host,
                port=settings.orders_port,
                endless=["WatchOrder"],
                reflection=settings.env == "development",
                tls=settings.tls("orders"),
            )
        )
        yield Running(port)


@asynccontextmanager
async def run_worker(
    settings: WorkerSettings | None = None,
    *,
    inventory: Inventory | None = None,
    erp: Erp | None = None,
    payments: Payments | None = None,
) -> AsyncIterator[Running]:
    """Work off orders' queues until the block ends."""
    settings = settings or WorkerSettings()
    async with AsyncExitStack() as stack:
        spans, provider, broker, out, store = await _foundation(stack, "order_worker", settings)
        enter = stack.enter_async_context
        token = provider.service_token("order_worker", settings.service_secret)
        if inventory is None:
            channel = await enter(
                connect(
                    settings.inventory_address,
                    idempotent=["shop.inventory.v1.InventoryService"],
                    tls=settings.tls("order_worker"),
                )
            )
            inventory = GrpcInventory(InventoryServiceStub(channel), Client("inventory", spans, token=token))
        if erp is None:
            channel = await enter(
                connect(
                    settings.erp_adapter_address,
                    idempotent=["shop.erp.v1.ErpService"],
                    tls=settings.tls("order_worker"),
                )
            )
            erp = GrpcErp(ErpServiceStub(channel), Client("erp_adapter", spans, token=token))
        if payments is None:
            http = await enter(httpx.AsyncClient(base_url=settings.payment_url, timeout=5.0))
            payments = HttpPayments(http, spans)
        await enter(background(out.relay()))
        for queue, handler in handlers(Saga(store, inventory, erp, payments)).items():
            await enter(consuming(broker, queue, handler, telemetry=spans, retry_delays=settings.retry_delays))
        await enter(showing_health(settings.host, settings.health_port, broker.healthy))
        yield Running()


async def _foundation(
    stack: AsyncExitStack, process: str, settings: ProcessSettings
) -> tuple[Telemetry, IdentityProvider, Broker, Outbox, SqlOrderStore]:
    """What both processes stand on: they share one database."""
    enter = stack.enter_async_context
    spans = await enter(settings.telemetry(process))
    db = await enter(
        database(
            settings.database("orders"), MIGRATIONS, create=settings.env == "development", migrate=settings.migrate
        )
    )
    broker = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
    stack.push_async_callback(broker.close)
    provider = await enter(identity_provider(settings.users_address, spans, tls=settings.tls(process)))
    out = Outbox(outbox, db, broker, spans, keep=None)
    return spans, provider, broker, out, SqlOrderStore(db, out)

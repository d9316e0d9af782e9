"""The composition root of orders' two processes: the one that answers, and the one that consumes the queues."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from chassis.broker.consumer import of_subject
from chassis.broker.outbox import Outbox
from chassis.broker.port import Broker
from chassis.process import Running
from chassis.service import Service, service
from chassis.settings import NotNegative, Positive, ProcessSettings
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from protos.shop.orders.v1.orders_pb2_grpc import add_OrderServiceServicer_to_server
from services.orders.admission.cached_backlog import CachedBacklog
from services.orders.admission.placement import Admission
from services.orders.clients import GrpcCatalog, GrpcErp, GrpcInventory
from services.orders.demo import demo_orders
from services.orders.grpc_api import POLICY, OrderApi
from services.orders.order_watch import LogOrderWatch
from services.orders.payments.provider import HttpPayments, provider_session
from services.orders.place_order import OrderPlacement
from services.orders.ports import Catalog, Erp, Inventory, Payments
from services.orders.saga import Saga
from services.orders.sql_store import SqlOrderStore, outbox
from services.orders.use_cases import Orders

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    orders_port: int = 50053
    catalog_address: str = "127.0.0.1:50052"
    # Seconds that orders may wait for their first step before further ones are refused with 503; 0: never.
    max_backlog_age: NotNegative = 0.0


class WorkerSettings(ProcessSettings):
    inventory_address: str = "127.0.0.1:50054"
    erp_adapter_address: str = "127.0.0.1:50056"
    payment_url: str = "http://127.0.0.1:8021"
    # Seconds for which an order may be pending before its customer is informed that it is delayed.
    order_delayed_after: Positive = 60.0


@asynccontextmanager
async def run(settings: Settings | None = None, *, catalog: Catalog | None = None) -> AsyncIterator[Running]:
    """Serve shop.orders.v1 until the block ends."""
    settings = settings or Settings()
    async with service("orders", settings) as s:
        broker, out, store = await _storage(s)
        catalog = catalog or GrpcCatalog(
            *await s.client(
                "catalog",
                settings.catalog_address,
                CatalogServiceStub,
                idempotent=["shop.catalog.v1.CatalogService/QuoteItems"],
            )
        )
        if settings.demo():
            await store.add_demo(demo_orders())
        placement = OrderPlacement(store, catalog)
        if settings.max_backlog_age > 0:
            max_age = timedelta(seconds=settings.max_backlog_age)
            placement = Admission(store, catalog, CachedBacklog(store), max_age=max_age)
        order_watch = LogOrderWatch(broker.log)
        await s.background(out.relay(), order_watch.follow())
        port = await s.serve(
            (add_OrderServiceServicer_to_server, OrderApi(placement, Orders(store, order_watch))),
            policy=POLICY,
            port=settings.orders_port,
            endless=["WatchOrder"],
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
    """Consume orders' queues until the block ends."""
    settings = settings or WorkerSettings()
    async with service("order_worker", settings) as s:
        broker, out, store = await _storage(s)
        inventory = inventory or GrpcInventory(
            *await s.client(
                "inventory",
                settings.inventory_address,
                InventoryServiceStub,
                idempotent=["shop.inventory.v1.InventoryService"],
                as_itself=True,
            )
        )
        erp = erp or GrpcErp(
            *await s.client(
                "erp_adapter",
                settings.erp_adapter_address,
                ErpServiceStub,
                idempotent=["shop.erp.v1.ErpService"],
                as_itself=True,
            )
        )
        if payments is None:
            http = await s.enter(provider_session(s.telemetry))
            payments = HttpPayments(http, settings.payment_url, s.telemetry)
        await s.background(out.relay())
        saga = Saga(store, inventory, erp, payments, delayed_after=timedelta(seconds=settings.order_delayed_after))
        for queue, step in saga.steps().items():
            await s.consume(broker, queue, of_subject(step))
        await s.show_health(broker.healthy)
        yield Running()


async def _storage(s: Service) -> tuple[Broker, Outbox, SqlOrderStore]:
    """The broker, the outbox and the store of both processes, which share a database."""
    db = await s.database("orders", MIGRATIONS)
    broker = await s.broker()
    out = Outbox(outbox, db, broker, s.telemetry, keep=None)
    return broker, out, SqlOrderStore(db, out)

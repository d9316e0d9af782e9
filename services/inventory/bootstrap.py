"""The composition root of inventory: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from chassis.background import background
from chassis.broker import connect as connect_broker
from chassis.broker.outbox import Outbox
from chassis.broker.port import Topology
from chassis.database import database
from chassis.identity_provider import identity_provider
from chassis.process import Running
from chassis.rpc import Client, connect
from chassis.rpc_server import serve
from chassis.settings import TOPOLOGY, ProcessSettings
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from protos.shop.inventory.v1.inventory_pb2_grpc import add_InventoryServiceServicer_to_server
from services.inventory.bookkeeping import Bookkeeping
from services.inventory.clients import GrpcErp
from services.inventory.demo import demo_stock
from services.inventory.grpc_api import POLICY, InventoryApi
from services.inventory.ports import Erp
from services.inventory.sql_store import SqlStockStore, outbox
from services.inventory.use_cases import Inventory

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    inventory_port: int = 50054
    erp_adapter_address: str = "127.0.0.1:50056"
    # Seconds for which an order that is not confirmed may hold what it has reserved: longer than a failing saga is
    # repeated (`retry_delays`), or an order that would still be confirmed loses its stock.
    reservation_ttl: float = 900.0


@asynccontextmanager
async def run(settings: Settings | None = None, *, erp: Erp | None = None) -> AsyncIterator[Running]:
    """Serve shop.inventory.v1 until the block ends."""
    settings = settings or Settings()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        spans = await enter(settings.telemetry("inventory"))
        db = await enter(
            database(
                settings.database("inventory"),
                MIGRATIONS,
                create=settings.env == "development",
                migrate=settings.migrate,
            )
        )
        events = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
        stack.push_async_callback(events.close)
        provider = await enter(identity_provider(settings.users_address, spans, tls=settings.tls("inventory")))
        if erp is None:
            channel = await enter(
                connect(
                    settings.erp_adapter_address,
                    idempotent=["shop.erp.v1.ErpService"],
                    tls=settings.tls("inventory"),
                )
            )
            token = provider.service_token("inventory", settings.service_secret)
            erp = GrpcErp(ErpServiceStub(channel), Client("erp_adapter", spans, token=token))
        out = Outbox(outbox, db, events, spans)
        store = SqlStockStore(db, out)
        if settings.demo():
            await store.add_missing(demo_stock())
        inventory = Inventory(store, erp, reservation_ttl=timedelta(seconds=settings.reservation_ttl))
        books = Bookkeeping(store, erp, inventory)
        await enter(background(out.relay(), books.book(), books.expire(settings.reservation_ttl)))
        port = await enter(
            serve(
                (add_InventoryServiceServicer_to_server, InventoryApi(inventory)),
                names=["shop.inventory.v1.InventoryService"],
                policy=POLICY,
                verifier=provider.verifier,
                telemetry=spans,
                host=settings.host,
                port=settings.inventory_port,
                endless=["SyncStock"],
                reflection=settings.env == "development",
                tls=settings.tls("inventory"),
            )
        )
        yield Running(port)

"""The composition root of catalog: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chassis.background import background
from chassis.broker import connect as connect_broker
from chassis.broker.outbox import Outbox
from chassis.broker.port import Topology
from chassis.database import database
from chassis.identity_provider import identity_provider
from chassis.process import Running
from chassis.rpc import connect
from chassis.rpc_server import serve
from chassis.settings import TOPOLOGY, ProcessSettings
from protos.shop.catalog.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from services.catalog.clients import GrpcInventory
from services.catalog.demo import demo_products
from services.catalog.grpc_api import POLICY, CatalogApi
from services.catalog.ports import Inventory
from services.catalog.sql_store import SqlProductStore, outbox
from services.catalog.use_cases import Catalog

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    catalog_port: int = 50052
    inventory_address: str = "127.0.0.1:50054"


@asynccontextmanager
async def run(settings: Settings | None = None, *, inventory: Inventory | None = None) -> AsyncIterator[Running]:
    """Serve shop.catalog.v1 until the block ends."""
    settings = settings or Settings()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        spans = await enter(settings.telemetry("catalog"))
        db = await enter(
            database(
                settings.database("catalog"), MIGRATIONS, create=settings.env == "development", migrate=settings.migrate
            )
        )
        events = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
        stack.push_async_callback(events.close)
        provider = await enter(identity_provider(settings.users_address, spans, tls=settings.tls("catalog")))
        if inventory is None:
            channel = await enter(
                connect(
                    settings.inventory_address,
                    idempotent=["shop.inventory.v1.InventoryService/CheckAvailability"],
                    tls=settings.tls("catalog"),
                )
            )
            inventory = GrpcInventory(InventoryServiceStub(channel), spans)
        out = Outbox(outbox, db, events, spans)
        store = SqlProductStore(db, out)
        if settings.demo():
            await store.add_missing(demo_products())
        await enter(background(out.relay()))
        port = await enter(
            serve(
                (add_CatalogServiceServicer_to_server, CatalogApi(Catalog(store, inventory))),
                names=["shop.catalog.v1.CatalogService"],
                policy=POLICY,
                verifier=provider.verifier,
                telemetry=spans,
                host=settings.host,
                port=settings.catalog_port,
                reflection=settings.env == "development",
                tls=settings.tls("catalog"),
            )
        )
        yield Running(port)

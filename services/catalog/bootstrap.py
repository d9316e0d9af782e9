"""The composition root of catalog: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chassis.broker.inbox import Inbox
from chassis.broker.outbox import Outbox
from chassis.process import Running
from chassis.service import service
from chassis.settings import ProcessSettings
from protos.shop.catalog.v1.catalog_pb2_grpc import add_CatalogServiceServicer_to_server
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from services.catalog.cached_store import CachedProductStore
from services.catalog.clients import GrpcInventory
from services.catalog.demo import demo_products
from services.catalog.grpc_api import POLICY, CatalogApi
from services.catalog.ports import Inventory
from services.catalog.sql_store import inbox, outbox
from services.catalog.use_cases import Catalog

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    catalog_port: int = 50052
    inventory_address: str = "127.0.0.1:50054"


@asynccontextmanager
async def run(settings: Settings | None = None, *, inventory: Inventory | None = None) -> AsyncIterator[Running]:
    """Serve shop.catalog.v1 until the block ends."""
    settings = settings or Settings()
    async with service("catalog", settings) as s:
        db = await s.database("catalog", MIGRATIONS)
        out = Outbox(outbox, db, await s.broker(), s.telemetry)
        store = CachedProductStore(db, out)
        if inventory is None:
            idempotent = ["shop.inventory.v1.InventoryService/CheckAvailability"]
            channel = await s.channel(settings.inventory_address, idempotent=idempotent)
            inventory = GrpcInventory(InventoryServiceStub(channel), s.telemetry)
        if settings.demo():
            await store.add_missing(demo_products())
        await s.background(out.relay(), Inbox(inbox).pruning(db))
        port = await s.serve(
            (add_CatalogServiceServicer_to_server, CatalogApi(Catalog(store, inventory))),
            policy=POLICY,
            port=settings.catalog_port,
        )
        yield Running(port)

"""The composition root of inventory: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from chassis.broker.outbox import Outbox
from chassis.process import Running
from chassis.service import service
from chassis.settings import Positive, ProcessSettings
from protos.shop.erp.v1.erp_pb2_grpc import ErpServiceStub
from protos.shop.inventory.v1.inventory_pb2_grpc import add_InventoryServiceServicer_to_server
from services.inventory.clients import GrpcErp
from services.inventory.demo import demo_stock
from services.inventory.erp_sync import ErpSync
from services.inventory.expiry import expire_reservations
from services.inventory.grpc_api import POLICY, InventoryApi
from services.inventory.ports import Erp
from services.inventory.sql_store import outbox
from services.inventory.sql_store.batching import BatchingStockStore
from services.inventory.use_cases import Inventory

MIGRATIONS = Path(__file__).parent / "migrations"
# Seconds between two publications of changed figures: no order waits for them, and every order has four.
_STOCK_FLUSH_INTERVAL = 0.25


class Settings(ProcessSettings):
    inventory_port: int = 50054
    erp_adapter_address: str = "127.0.0.1:50056"
    # Seconds until the reservation of an unconfirmed order expires. Each attempt of the saga renews it: keep it longer
    # than the longest pause between two attempts (`retry_delays`), or another order can get the stock.
    reservation_ttl: Positive = 900.0


@asynccontextmanager
async def run(settings: Settings | None = None, *, erp: Erp | None = None) -> AsyncIterator[Running]:
    """Serve shop.inventory.v1 until the block ends."""
    settings = settings or Settings()
    async with service("inventory", settings) as s:
        db = await s.database("inventory", MIGRATIONS)
        out = Outbox(outbox, db, await s.broker(), s.telemetry, flush_interval=_STOCK_FLUSH_INTERVAL)
        store = BatchingStockStore(db, out)
        erp = erp or GrpcErp(
            *await s.client(
                "erp_adapter",
                settings.erp_adapter_address,
                ErpServiceStub,
                idempotent=["shop.erp.v1.ErpService"],
                as_itself=True,
            )
        )
        if settings.demo():
            await store.add_missing(demo_stock())
        inventory = Inventory(store, erp, reservation_ttl=timedelta(seconds=settings.reservation_ttl))
        await s.background(
            out.relay(), ErpSync(store, erp).book(), expire_reservations(inventory, settings.reservation_ttl)
        )
        port = await s.serve(
            (add_InventoryServiceServicer_to_server, InventoryApi(inventory)),
            policy=POLICY,
            port=settings.inventory_port,
            endless=["SyncStock"],
        )
        yield Running(port)

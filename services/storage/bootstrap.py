"""The composition root of storage: the one place that reads settings and builds adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chassis.auth.identity import TokenVerifier
from chassis.process import Running
from chassis.service import service
from chassis.settings import AtLeastOne, Positive, ProcessSettings
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.storage.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.storage.clients import GrpcPaidOrders
from services.storage.consumer import QUEUE, InvoiceConsumer
from services.storage.demo import add_demo_pictures
from services.storage.folder_store.buffered import BufferedFolderStore
from services.storage.garbage_collection import sweep
from services.storage.grpc_api import POLICY, StorageApi
from services.storage.ports import PaidOrders
from services.storage.sql_store import SqlFileStore
from services.storage.use_cases import Storage

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    storage_port: int = 50055
    orders_address: str = "127.0.0.1:50053"
    max_file_bytes: AtLeastOne = 100 << 20
    # Seconds that an upload may pause before it is given up.
    upload_timeout: Positive = 30


@asynccontextmanager
async def run(
    settings: Settings | None = None, *, verifier: TokenVerifier | None = None, paid_orders: PaidOrders | None = None
) -> AsyncIterator[Running]:
    """Serve shop.storage.v1, and write the invoices of paid orders, until the block ends."""
    settings = settings or Settings()
    contents = BufferedFolderStore(settings.data_dir / "files")
    await contents.prepare()
    async with service("storage", settings) as s:
        files = SqlFileStore(await s.database("storage", MIGRATIONS))
        broker = await s.broker()
        paid_orders = paid_orders or GrpcPaidOrders(
            *await s.client(
                "orders",
                settings.orders_address,
                OrderServiceStub,
                idempotent=["shop.orders.v1.OrderService/GetOrder"],
                as_itself=True,
            ),
            *await s.client(
                "users",
                settings.users_address,
                UserServiceStub,
                idempotent=["shop.users.v1.UserService/GetUsers"],
                as_itself=True,
            ),
        )
        storage = Storage(files, contents, max_file_bytes=settings.max_file_bytes)
        if settings.demo():
            await add_demo_pictures(storage)
        port = await s.serve(
            (add_StorageServiceServicer_to_server, StorageApi(storage, timeout=settings.upload_timeout)),
            policy=POLICY,
            port=settings.storage_port,
            verifier=verifier,
        )
        await s.background(sweep(storage))
        await s.consume(broker, QUEUE, InvoiceConsumer(paid_orders, storage).handle)
        yield Running(port)

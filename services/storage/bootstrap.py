"""The composition root of storage: the one place that reads settings and builds adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from chassis.background import background
from chassis.broker import connect as connect_broker
from chassis.broker.consumer import consuming
from chassis.broker.port import Topology
from chassis.database import database
from chassis.identity import TokenVerifier
from chassis.identity_provider import identity_provider
from chassis.process import Running
from chassis.rpc import Client, connect
from chassis.rpc_server import serve
from chassis.settings import TOPOLOGY, ProcessSettings
from protos.shop.orders.v1.orders_pb2_grpc import OrderServiceStub
from protos.shop.storage.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from protos.shop.users.v1.users_pb2_grpc import UserServiceStub
from services.storage.clients import GrpcPaidOrders
from services.storage.consumer import QUEUE, InvoiceConsumer
from services.storage.demo import OWNER, PICTURE, demo_pictures
from services.storage.folder_store import FolderStore
from services.storage.grpc_api import DESERIALIZERS, POLICY, StorageApi
from services.storage.housekeeping import sweep
from services.storage.ports import PaidOrders
from services.storage.sql_store import SqlFileStore
from services.storage.use_cases import Storage

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ProcessSettings):
    storage_port: int = 50055
    orders_address: str = "127.0.0.1:50053"
    max_file_bytes: int = 100 << 20
    # Seconds that an upload may pause before it is given up.
    upload_patience: float = 30


@asynccontextmanager
async def run(
    settings: Settings | None = None, *, verifier: TokenVerifier | None = None, paid_orders: PaidOrders | None = None
) -> AsyncIterator[Running]:
    """Serve shop.storage.v1, and write the invoices of paid orders, until the block ends."""
    settings = settings or Settings()
    contents = FolderStore(settings.data_dir / "files")
    await contents.prepare()
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        tls = settings.tls("storage")
        spans = await enter(settings.telemetry("storage"))
        db = await enter(
            database(
                settings.database("storage"), MIGRATIONS, create=settings.env == "development", migrate=settings.migrate
            )
        )
        events = await connect_broker(settings.broker(), Topology.load(TOPOLOGY))
        stack.push_async_callback(events.close)
        provider = await enter(identity_provider(settings.users_address, spans, tls=tls))
        if paid_orders is None:
            token = provider.service_token("storage", settings.service_secret)
            orders = await enter(
                connect(settings.orders_address, idempotent=["shop.orders.v1.OrderService/GetOrder"], tls=tls)
            )
            users = await enter(
                connect(settings.users_address, idempotent=["shop.users.v1.UserService/GetUsers"], tls=tls)
            )
            paid_orders = GrpcPaidOrders(
                OrderServiceStub(orders),
                Client("orders", spans, token=token),
                UserServiceStub(users),
                Client("users", spans, token=token),
            )
        files = SqlFileStore(db)
        storage = Storage(files, contents, max_file_bytes=settings.max_file_bytes)
        if settings.demo():
            pictures = demo_pictures()
            missing = await files.missing(list(pictures))
            # Side by side: each one waits for the disk.
            await asyncio.gather(*(storage.put(name, pictures[name], PICTURE, OWNER, public=True) for name in missing))
        port = await enter(
            serve(
                (add_StorageServiceServicer_to_server, StorageApi(storage, patience=settings.upload_patience)),
                names=["shop.storage.v1.StorageService"],
                policy=POLICY,
                deserializers=DESERIALIZERS,
                verifier=verifier or provider.verifier,
                telemetry=spans,
                host=settings.host,
                port=settings.storage_port,
                reflection=settings.env == "development",
                tls=tls,
            )
        )
        await enter(background(sweep(storage)))
        invoices = InvoiceConsumer(paid_orders, storage)
        await enter(consuming(events, QUEUE, invoices.handle, telemetry=spans, retry_delays=settings.retry_delays))
        yield Running(port)

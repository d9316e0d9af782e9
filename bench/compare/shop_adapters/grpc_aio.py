"""gRPC to catalog and inventory directly, as a service inside the shop would call them, by grpc.aio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from bench.compare.adapters.messages import briefly
from bench.compare.adapters.port import Ask, Call, Link, Rows
from protos.shop.catalog.v1 import catalog_pb2 as pb
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.inventory.v1.inventory_pb2 import CheckAvailabilityRequest
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    metadata = tuple((name.lower(), value) for name, value in link.headers.items())
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{link.port}", options=own) as channel:
        catalog, inventory = CatalogServiceStub(channel), InventoryServiceStub(channel)

        async def call(ask: Ask) -> Rows:
            if ask.how == "availability":
                request = CheckAvailabilityRequest(product_ids=ask.ids, live=True)
                found = await inventory.CheckAvailability(request, metadata=metadata)
                return [{"product_id": each.product_id, "available": each.available} for each in found.items]
            return [briefly(await catalog.GetProducts(pb.GetProductsRequest(ids=ask.ids), metadata=metadata))]

        yield call

"""gRPC to catalog and inventory directly, as a service inside the shop would call them, by grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.compare import tls
from bench.compare.adapters.messages import briefly, page_rows
from bench.compare.adapters.port import Call, Link, Rows, Selection
from protos.shop.catalog.v1 import catalog_pb2 as pb
from protos.shop.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from protos.shop.inventory.v1.inventory_pb2 import CheckAvailabilityRequest
from protos.shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    metadata = tuple((name.lower(), value) for name, value in link.headers.items())
    async with tls.channel(link.port, link.options) as channel:
        catalog, inventory = CatalogServiceStub(channel), InventoryServiceStub(channel)

        async def get(product_id: str) -> dict[str, str]:
            return briefly(await catalog.GetProducts(pb.GetProductsRequest(ids=[product_id]), metadata=metadata))

        async def call(selection: Selection) -> Rows:
            if selection.how == "availability":
                request = CheckAvailabilityRequest(product_ids=selection.ids, live=True)
                found = await inventory.CheckAvailability(request, metadata=metadata)
                return [{"product_id": each.product_id, "available": each.available} for each in found.items]
            if selection.limit:
                page = await catalog.ListProducts(pb.ListProductsRequest(page_size=selection.limit), metadata=metadata)
                return page_rows(page, selection.fields)
            return list(await asyncio.gather(*(get(each) for each in selection.ids)))

        yield call

"""gRPC: grpc.aio on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from bench.compare import tls
from bench.compare.adapters.messages import briefly, message, page_message, page_rows
from bench.compare.adapters.port import Call, Link, Rows, Selection
from protos.shop.catalog.v1 import catalog_pb2 as pb
from protos.shop.catalog.v1 import catalog_pb2_grpc as stubs


class CatalogApi(stubs.CatalogServiceServicer):
    CreateProduct = UpdateProduct = DeleteProduct = QuoteItems = RefreshMaterial = None  # type: ignore[assignment]

    async def GetProducts(self, request: pb.GetProductsRequest, context: Any) -> pb.GetProductsResponse:
        return message(request)

    async def ListProducts(self, request: pb.ListProductsRequest, context: Any) -> pb.ListProductsResponse:
        return page_message(request)


@asynccontextmanager
async def serve(options: Sequence[str]) -> AsyncIterator[int]:
    """Option "gzip": answers are compressed."""
    server = grpc.aio.server(compression=grpc.Compression.Gzip if "gzip" in options else None)
    stubs.add_CatalogServiceServicer_to_server(CatalogApi(), server)
    port = tls.add_port(server, options)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    metadata = tuple((name.lower(), value) for name, value in link.headers.items())
    async with tls.channel(link.port, link.options) as channel:
        catalog = stubs.CatalogServiceStub(channel)

        async def get(product_id: str) -> dict[str, str]:
            return briefly(await catalog.GetProducts(pb.GetProductsRequest(ids=[product_id]), metadata=metadata))

        async def call(selection: Selection) -> Rows:
            if not selection.limit:
                return list(await asyncio.gather(*(get(each) for each in selection.ids)))
            request = pb.ListProductsRequest(page_size=selection.limit)
            return page_rows(await catalog.ListProducts(request, metadata=metadata), selection.fields)

        yield call

"""Connect (JSON and protobuf) and gRPC-Web: the official connectrpc package on uvicorn, and its own client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from connectrpc.client import ConnectClient
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_codecs, google_protobuf_json_codec
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.protocol import ProtocolType
from connectrpc.server import ConnectASGIApplication, Endpoint
from pyqwest import Client, HTTPTransport

from bench.compare.adapters.messages import briefly, message
from bench.compare.adapters.port import Call, Link, Rows, Selection, asgi
from protos.shop.catalog.v1 import catalog_pb2 as pb

SERVICE = "shop.catalog.v1.CatalogService"
GET_PRODUCTS = MethodInfo(
    name="GetProducts",
    service_name=SERVICE,
    input=pb.GetProductsRequest,
    output=pb.GetProductsResponse,
    idempotency_level=IdempotencyLevel.NO_SIDE_EFFECTS,
    stream_type=StreamType.UNARY,
)
_PLAIN: dict[str, Any] = dict.fromkeys(("enable_gzip", "enable_brotli", "enable_zstd", "enable_otel"), False)


class CatalogApplication(ConnectASGIApplication[Any]):
    path = f"/{SERVICE}"


async def get_products(request: pb.GetProductsRequest, _: Any) -> pb.GetProductsResponse:
    return message(request)


def serve(options: Sequence[str]) -> AbstractAsyncContextManager[int]:
    endpoints = {f"/{SERVICE}/GetProducts": Endpoint.unary(GET_PRODUCTS, get_products)}
    return asgi(CatalogApplication(service=None, endpoints=lambda _: endpoints, codecs=google_protobuf_codecs()))


@asynccontextmanager
async def connect(link: Link) -> AsyncIterator[Call]:
    """Options: "json" instead of binary protobuf; "grpc-web" instead of Connect. No compression and no spans."""
    codec = google_protobuf_json_codec() if "json" in link.options else google_protobuf_binary_codec()
    protocol = ProtocolType.GRPC_WEB if "grpc-web" in link.options else ProtocolType.CONNECT
    most: dict[str, Any] = {"max_connections_per_address": link.connections, "pool_max_idle_per_host": link.connections}
    plain: dict[str, Any] = {"accept_compression": (), "send_compression": None, "protocol": protocol, "codec": codec}
    plain["http_client"] = Client(HTTPTransport(**_PLAIN, **most))
    async with ConnectClient(link.url, **plain) as client:

        async def call(selection: Selection) -> Rows:
            requests = [pb.GetProductsRequest(ids=[each]) for each in selection.ids]
            options: dict[str, Any] = {"method": GET_PRODUCTS, "headers": link.headers}
            return [briefly(await client.execute_unary(request=each, **options)) for each in requests]

        yield call

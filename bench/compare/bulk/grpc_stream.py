"""gRPC's streams of 64 KiB chunks (shop.storage.v1) and of rows, by grpc.aio."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from bench.compare.adapters.port import Link
from bench.compare.adapters.rows import PLACES, full
from bench.compare.bulk.content import sending
from protos.shop.catalog.v1.catalog_pb2 import Product
from protos.shop.storage.v1 import storage_pb2 as pb

_SERVICE = "shop.storage.v1.StorageService"


async def _download(request: pb.FileRequest, _: Any) -> AsyncIterator[pb.Chunk]:
    async for piece in sending(request.length, request.offset):
        yield pb.Chunk(data=piece)


async def _upload(chunks: AsyncIterator[pb.Chunk], _: Any) -> pb.UploadResponse:
    found = hashlib.sha256()
    async for chunk in chunks:
        found.update(chunk.data)
    return pb.UploadResponse(file=pb.FileInfo(sha256=found.hexdigest()))


async def _rows(request: pb.FileRequest, _: Any) -> AsyncIterator[Product]:
    for number in range(request.length):
        row = full([str(number % PLACES + 1)])[0]
        texts = {name: value for name, value in row.items() if name != "updated_at"}
        message = Product(**texts)  # type: ignore[arg-type]
        message.updated_at.FromJsonString(row["updated_at"])
        yield message


@asynccontextmanager
async def serve(options: Sequence[str]) -> AsyncIterator[int]:
    to_bytes = lambda message: message.SerializeToString()  # noqa: E731 - gRPC's own idiom
    handlers: dict[str, Any] = {
        "DownloadFile": grpc.unary_stream_rpc_method_handler(_download, pb.FileRequest.FromString, to_bytes),
        "UploadFile": grpc.stream_unary_rpc_method_handler(_upload, pb.Chunk.FromString, to_bytes),
        "Rows": grpc.unary_stream_rpc_method_handler(_rows, pb.FileRequest.FromString, to_bytes),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def transfer(link: Link, what: str, size: int) -> str:
    """Move `size` bytes (or rows) one way; the hash of what arrived. `what`: down, up, rows."""
    found = hashlib.sha256()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{link.port}") as channel:
        if what == "up":
            upload: Any = channel.stream_unary(
                f"/{_SERVICE}/UploadFile", pb.Chunk.SerializeToString, pb.UploadResponse.FromString
            )
            chunks = (pb.Chunk(data=piece) async for piece in sending(size))
            return str((await upload(chunks)).file.sha256)
        name, kind = ("Rows", Product) if what == "rows" else ("DownloadFile", pb.Chunk)
        stream: Any = channel.unary_stream(f"/{_SERVICE}/{name}", pb.FileRequest.SerializeToString, kind.FromString)
        async for message in stream(pb.FileRequest(length=size)):
            found.update(message.id.encode() if what == "rows" else message.data)
        return found.hexdigest()

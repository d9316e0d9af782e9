"""Files of the shop, up and down: over HTTP through the gateway, and over gRPC's streams to storage itself."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import aiohttp

from bench.compare import tls
from bench.compare.adapters.port import Link
from bench.compare.bulk.content import sending
from protos.shop.storage.v1 import storage_pb2 as pb
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceStub

_TYPE = "application/octet-stream"


async def http_up(link: Link, size: int, _: str) -> tuple[str, str]:
    """The file's id, and the hash that storage has of it."""
    forever = aiohttp.ClientTimeout(total=None)
    headers = {"Content-Type": _TYPE, "Content-Length": str(size), **link.headers}
    async with (
        aiohttp.ClientSession(link.url, timeout=forever) as session,
        session.post("/v1/files", data=sending(size), headers=headers, raise_for_status=True) as answer,
    ):
        found = await answer.json()
        return found["id"], found["sha256"]


async def http_down(link: Link, _: int, file: str) -> tuple[str, str]:
    """The file's id, and the hash of what arrived."""
    found = hashlib.sha256()
    async with (
        aiohttp.ClientSession(link.url, headers=link.headers, timeout=aiohttp.ClientTimeout(total=None)) as session,
        session.get(f"/v1/files/{file}", raise_for_status=True) as answer,
    ):
        async for piece in answer.content.iter_any():
            found.update(piece)
    return file, found.hexdigest()


async def grpc_up(link: Link, size: int, _: str) -> tuple[str, str]:
    """The same as `http_up`."""

    async def chunks() -> AsyncIterator[pb.Chunk]:
        yield pb.Chunk(header=pb.UploadHeader(content_type=_TYPE))
        async for piece in sending(size):
            yield pb.Chunk(data=piece)

    async with tls.channel(link.port, link.options) as channel:
        found = await StorageServiceStub(channel).UploadFile(chunks(), metadata=_metadata(link))
        return found.file.id, found.file.sha256


async def grpc_down(link: Link, _: int, file: str) -> tuple[str, str]:
    """The same as `http_down`."""
    found = hashlib.sha256()
    async with tls.channel(link.port, link.options) as channel:
        async for chunk in StorageServiceStub(channel).DownloadFile(pb.FileRequest(id=file), metadata=_metadata(link)):
            found.update(chunk.data)
    return file, found.hexdigest()


def _metadata(link: Link) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in link.headers.items())


WAYS = {"http-up": http_up, "http-down": http_down, "grpc-up": grpc_up, "grpc-down": grpc_down}

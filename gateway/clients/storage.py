"""The storage service's client: files are streamed both ways."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc.aio

from chassis.grpc.client import Client
from protos.shop.storage.v1 import storage_pb2
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceStub

if TYPE_CHECKING:
    from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub

# The largest piece of a file that the contract allows.
PIECE = 256 << 10


class StorageClient:
    def __init__(self, channel: grpc.aio.Channel, client: Client, *, transfer_budget: float) -> None:
        """`transfer_budget`: seconds for a whole upload or download."""
        self._stub: StorageServiceAsyncStub = StorageServiceStub(channel)
        self._client = client
        self._transfer_budget = transfer_budget

    async def stat(self, file_id: str) -> storage_pb2.FileInfo:
        return (await self._client.call(self._stub.StatFile, storage_pb2.StatFileRequest(id=file_id))).file

    async def upload(self, header: storage_pb2.UploadHeader, content: AsyncIterator[bytes]) -> storage_pb2.FileInfo:
        """Store a file, whose content is read only as fast as the upstream takes it."""
        async with aclosing(_messages(header, content)) as messages:
            response = await self._client.upload(self._stub.UploadFile, messages, timeout=self._transfer_budget)
        return response.file

    async def download(self, file_id: str, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """The bytes from an offset on; all the rest for a length of 0."""
        request = storage_pb2.FileRequest(id=file_id, offset=offset, length=length)
        chunks = self._client.stream(self._stub.DownloadFile, request, timeout=self._transfer_budget)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk.data


async def _messages(
    header: storage_pb2.UploadHeader, content: AsyncIterator[bytes]
) -> AsyncGenerator[storage_pb2.Chunk, None]:
    yield storage_pb2.Chunk(header=header)
    async with aclosing(pieces_of(content)) as pieces:
        async for piece in pieces:
            yield storage_pb2.Chunk(data=piece)


async def pieces_of(content: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The content in pieces of at most 256 KiB; small parts are collected, so that few messages carry them."""
    piece = bytearray()
    async for part in content:
        for start in range(0, len(part), PIECE):
            rest = part[start : start + PIECE]
            if len(piece) + len(rest) > PIECE:
                yield bytes(piece)
                piece.clear()
            piece += rest
    if piece:
        yield bytes(piece)

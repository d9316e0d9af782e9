"""shop.storage.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from chassis.auth.identity import anyone, current_principal, signed_in
from chassis.errors import invalid
from chassis.resilience.message_timeout import MessageTimeout
from protos.shop.storage.v1 import storage_pb2 as pb
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceServicer
from services.storage.domain import StoredFile, UploadRequest
from services.storage.use_cases import Storage

# Who may see which file is decided file by file: some are public.
POLICY = {"UploadFile": signed_in, "DownloadFile": anyone, "StatFile": anyone}

# Bytes of data in a message of an upload, as the contract says.
MAX_PIECE = 256 << 10


class StorageApi(StorageServiceServicer):
    def __init__(self, use_cases: Storage, *, timeout: float) -> None:
        """`timeout`: seconds that an upload may pause before it is given up."""
        self._storage = use_cases
        self._timeout = timeout

    async def UploadFile(self, request_iterator: AsyncIterator[pb.Chunk], context: Any) -> pb.UploadResponse:
        async with MessageTimeout(self._timeout) as timeout, aclosing(timeout.each(request_iterator)) as chunks:
            first = await anext(chunks, pb.Chunk())
            if not first.HasField("header"):
                raise invalid("upload must begin with its header", header="is required in the first message")
            request = UploadRequest(first.header.content_type, first.header.sha256, first.header.public)
            async with aclosing(_pieces(chunks, context)) as pieces:
                file = await self._storage.upload(request, pieces, current_principal())
        return pb.UploadResponse(file=_info(file))

    async def DownloadFile(self, request: pb.FileRequest, context: Any) -> AsyncIterator[pb.Chunk]:
        found = self._storage.download(request.id, request.offset, request.length, current_principal())
        async with aclosing(found) as pieces:
            async for piece in pieces:
                yield pb.Chunk(data=piece)

    async def StatFile(self, request: pb.StatFileRequest, context: Any) -> pb.StatFileResponse:
        return pb.StatFileResponse(file=_info(await self._storage.file(request.id, current_principal())))


async def _pieces(chunks: AsyncIterator[pb.Chunk], context: Any) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        yield _data(chunk)
    # To grpc.aio a request stream that broke off looks like one that has ended, and the cancellation comes some
    # turns of the loop later: too late for half a file. Sending something fails at once if the client is gone.
    await context.send_initial_metadata(())


def _data(chunk: pb.Chunk) -> bytes:
    if not chunk.HasField("data"):
        raise invalid("upload message has no data", data="is required after the first message")
    data = chunk.data
    if len(data) > MAX_PIECE:
        raise invalid("upload message is too large", data=f"must have at most {MAX_PIECE} bytes")
    return data


def _info(file: StoredFile) -> pb.FileInfo:
    return pb.FileInfo(
        id=file.id,
        size=file.content.size,
        sha256=file.content.sha256,
        content_type=file.content_type,
        owner_id=file.owner_id,
        public=file.public,
    )

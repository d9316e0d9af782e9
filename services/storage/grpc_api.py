"""shop.storage.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from chassis.errors import Kind, ShopError, invalid
from chassis.identity import anyone, current_principal, signed_in
from protos.shop.storage.v1 import storage_pb2 as pb
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceServicer
from services.storage.domain import MAX_PIECE, StoredFile, UploadRequest
from services.storage.use_cases import Storage

# Who may see which file is decided file by file: some are public.
POLICY = {"UploadFile": signed_in, "DownloadFile": anyone, "StatFile": anyone}


class StorageApi(StorageServiceServicer):
    def __init__(self, use_cases: Storage, *, patience: float) -> None:
        """`patience`: seconds that an upload may pause before it is given up."""
        self._storage = use_cases
        self._patience = patience

    async def UploadFile(self, request_iterator: AsyncIterator[pb.Chunk], context: Any) -> pb.UploadResponse:
        chunks = aiter(request_iterator)
        header = await self._next(chunks)
        if header is None or header.WhichOneof("part") != "header":
            raise invalid("an upload begins with its header", header="is required in the first message")
        request = UploadRequest(header.header.content_type, header.header.sha256, header.header.public)
        async with aclosing(self._pieces(chunks, context)) as pieces:
            file = await self._storage.upload(request, pieces, current_principal())
        return pb.UploadResponse(file=_info(file))

    async def DownloadFile(self, request: pb.FileRequest, context: Any) -> AsyncIterator[pb.Chunk]:
        found = self._storage.download(request.id, request.offset, request.length, current_principal())
        async with aclosing(found) as pieces:
            async for piece in pieces:
                yield pb.Chunk(data=piece)

    async def StatFile(self, request: pb.StatFileRequest, context: Any) -> pb.StatFileResponse:
        return pb.StatFileResponse(file=_info(await self._storage.file(request.id, current_principal())))

    async def _pieces(self, chunks: AsyncIterator[pb.Chunk], context: Any) -> AsyncGenerator[bytes, None]:
        while (chunk := await self._next(chunks)) is not None:
            if chunk.WhichOneof("part") != "data":
                raise invalid("a message without data", data="is required after the first message")
            data = chunk.data  # once: each look at it is a copy
            if len(data) > MAX_PIECE:
                raise invalid("a message is too large", data=f"must have at most {MAX_PIECE} bytes")
            yield data
        # To grpc.aio a request stream that broke off looks like one that has ended, and the cancellation comes some
        # turns of the loop later: too late for half a file. Sending something fails at once if nobody is there.
        await context.send_initial_metadata(())

    async def _next(self, chunks: AsyncIterator[pb.Chunk]) -> pb.Chunk | None:
        try:
            async with asyncio.timeout(self._patience):
                return await anext(chunks, None)
        except TimeoutError as error:
            raise ShopError("UPLOAD_STALLED", f"nothing came for {self._patience} s", Kind.TIMEOUT) from error


def _info(file: StoredFile) -> pb.FileInfo:
    return pb.FileInfo(
        id=file.id,
        size=file.content.size,
        sha256=file.content.sha256,
        content_type=file.content_type,
        owner_id=file.owner_id,
        public=file.public,
    )

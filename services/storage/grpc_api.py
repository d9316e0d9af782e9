"""shop.storage.v1 over gRPC: parse, call one use case, render."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar

from chassis.auth.identity import anyone, current_principal, signed_in
from chassis.errors import Kind, ShopError, invalid
from protos.shop.storage.v1 import storage_pb2 as pb
from protos.shop.storage.v1.storage_pb2_grpc import StorageServiceServicer
from services.storage.domain import MAX_PIECE, StoredFile, UploadRequest
from services.storage.use_cases import Storage

# Who may see which file is decided file by file: some are public.
POLICY = {"UploadFile": signed_in, "DownloadFile": anyone, "StatFile": anyone}

# How a message begins that has as much data as it may, as all of an upload have but the first and the last.
_FULL = pb.Chunk(data=bytes(MAX_PIECE)).SerializeToString()[:-MAX_PIECE]


def read_chunk(message: bytes) -> pb.Chunk | memoryview:
    """A message of an upload; of a full one only its data, uncopied."""
    if len(message) == len(_FULL) + MAX_PIECE and message.startswith(_FULL):
        return memoryview(message)[len(_FULL) :]
    return pb.Chunk.FromString(message)


DESERIALIZERS = {"UploadFile": read_chunk}

_Message = TypeVar("_Message")


class StorageApi(StorageServiceServicer):
    def __init__(self, use_cases: Storage, *, timeout: float) -> None:
        """`timeout`: seconds that an upload may pause before it is given up."""
        self._storage = use_cases
        self._timeout = timeout

    async def UploadFile(self, request_iterator: AsyncIterator[Any], context: Any) -> pb.UploadResponse:
        """The requests are what `read_chunk` makes of them."""
        async with _MessageTimeout(self._timeout) as timeout, aclosing(timeout.each(request_iterator)) as chunks:
            header = await anext(chunks, None)
            if not isinstance(header, pb.Chunk) or header.WhichOneof("part") != "header":
                raise invalid("upload must begin with its header", header="is required in the first message")
            request = UploadRequest(header.header.content_type, header.header.sha256, header.header.public)
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


class _MessageTimeout:
    """Ends a block with UPLOAD_STALLED when one message takes longer than so many seconds.

    One timer looks after all of them: one for each would cost more than all else that is done here for a message.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limit = asyncio.timeout(None)
        self._waiting_since: float | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._seconds, self._look)
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        try:
            await self._limit.__aexit__(kind, raised, trace)
        except TimeoutError as error:
            raise ShopError("UPLOAD_STALLED", f"no data received for {self._seconds} s", Kind.TIMEOUT) from error

    async def each(self, messages: AsyncIterator[_Message]) -> AsyncGenerator[_Message, None]:
        """The messages; what is done between them may take its time."""
        self._waiting_since = self._loop.time()
        async for message in messages:
            self._waiting_since = None
            yield message
            self._waiting_since = self._loop.time()
        # What comes after the last one is not the uploader's either.
        self._waiting_since = None

    def _look(self) -> None:
        now = self._loop.time()
        since = now if self._waiting_since is None else self._waiting_since
        if now >= since + self._seconds:
            self._limit.reschedule(now)
        else:
            self._timer = self._loop.call_at(since + self._seconds, self._look)


async def _pieces(
    chunks: AsyncIterator[pb.Chunk | memoryview], context: Any
) -> AsyncGenerator[bytes | memoryview, None]:
    async for chunk in chunks:
        yield chunk if isinstance(chunk, memoryview) else _data(chunk)
    # To grpc.aio a request stream that broke off looks like one that has ended, and the cancellation comes some
    # turns of the loop later: too late for half a file. Sending something fails at once if the client is gone.
    await context.send_initial_metadata(())


def _data(chunk: pb.Chunk) -> bytes:
    if chunk.WhichOneof("part") != "data":
        raise invalid("upload message has no data", data="is required after the first message")
    data = chunk.data  # once: each look at it is a copy
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

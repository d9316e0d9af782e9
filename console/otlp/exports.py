"""Exports over HTTP in OTLP's binary encoding (OTLP specification 1.x, section OTLP/HTTP), and their refusals."""

from __future__ import annotations

import zlib
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status
from starlette.requests import Request
from starlette.responses import Response

PROTOBUF = "application/x-protobuf"
_GZIP = 16 + zlib.MAX_WBITS
# google.rpc.Code
_INVALID_ARGUMENT = 3
_RESOURCE_EXHAUSTED = 8

Export = TypeVar("Export", bound=Message)


class ExportRefusedError(Exception):
    """An OTLP failure: an HTTP status, and a google.rpc.Status as the body."""

    def __init__(self, status: int, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = Status(code=code, message=message).SerializeToString()
        self.headers = headers


async def answer_refusal(_: Request, error: Exception) -> Response:
    """The answer to an export that was refused."""
    assert isinstance(error, ExportRefusedError)  # noqa: S101 - Starlette's type for handlers is wider
    return Response(error.body, error.status, error.headers, media_type=PROTOBUF)


async def export_of(request: Request, kind: type[Export], limit: int) -> Export:
    """The export that a request has as its body, of at most `limit` bytes on the wire and unpacked.

    Raises `ExportRefusedError`.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != PROTOBUF:
        raise ExportRefusedError(415, _INVALID_ARGUMENT, f"send {PROTOBUF}", {"accept": PROTOBUF})
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        supported = {"accept-encoding": "gzip, identity"}
        raise ExportRefusedError(415, _INVALID_ARGUMENT, "send gzip or no content-encoding", supported)
    body = await body_of(request, limit, _too_large(limit))
    try:
        return kind.FromString(_unzipped(body, limit) if coding == "gzip" else body)
    except DecodeError as error:
        raise _invalid(f"the body is not an {kind.__name__} in protobuf") from error


async def body_of(request: Request, limit: int, too_large: Exception) -> bytes:
    """The body of a request; raises `too_large` as soon as it has more bytes than the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _unzipped(body: bytes, limit: int) -> bytes:
    """The content of a gzip body; never holds more than `limit` bytes of it, however much it would unpack to."""
    unzip = zlib.decompressobj(_GZIP)
    try:
        content = unzip.decompress(body, limit + 1)
    except zlib.error as error:
        raise _invalid("the body is not gzip") from error
    if len(content) > limit:
        raise _too_large(limit)
    if not unzip.eof:
        raise _invalid("the gzip body ends too early")
    return content


def _too_large(limit: int) -> ExportRefusedError:
    return ExportRefusedError(413, _RESOURCE_EXHAUSTED, f"export must have at most {limit} bytes")


def _invalid(why: str) -> ExportRefusedError:
    return ExportRefusedError(400, _INVALID_ARGUMENT, why)

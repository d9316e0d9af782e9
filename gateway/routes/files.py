"""Files: streamed both ways, never held in memory."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from chassis.errors import Kind, ShopError, invalid
from chassis.http.header_fields import elements
from chassis.resilience.message_timeout import MessageTimeout
from gateway.clients.services import upstreams
from gateway.errors import answer
from gateway.http import serializers
from gateway.http.etags import none_match
from gateway.http.parameters import IfNoneMatch
from gateway.http.range_requests import wanted_bytes
from gateway.http.schemas import File, IdInPath
from gateway.http.serializers import json_response
from gateway.http.streaming import Streamed
from gateway.middleware.auth import PUBLIC, SIGNED_IN
from gateway.openapi import operation_id, problems, with_headers
from protos.shop.storage.v1.storage_pb2 import FileInfo, UploadHeader

router = APIRouter(tags=["files"], generate_unique_id_function=operation_id)

# The answer's Accept; any other type but multipart is taken as well.
_TAKEN = "application/octet-stream, */*;q=0.9, multipart/*;q=0"
_BINARY = {"schema": {"type": "string", "format": "binary"}, "example": "test"}
# A download has the type that its upload had. A schema would be a promise about the bytes read as that type.
_ANY_BYTES: dict[str, Any] = {"*/*": {}}
# Without a token for public files, with its owner's or an admin's for any other.
_OPTIONAL_TOKEN: dict[str, Any] = {"security": [{}, {"password": []}]}

ReprDigest = Annotated[
    str | None,
    Header(
        alias="Repr-Digest",
        description="RFC 9530; `sha-256` is checked.",
        examples=["sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"],
    ),
]


@router.post(
    "/v1/files",
    summary="Upload a file: the body is its bytes",
    status_code=201,
    response_model=File,
    responses=problems(401, 403, 422, 507),
    dependencies=[SIGNED_IN],
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The bytes of the file, of any type but multipart, without a content coding.",
            "content": {"application/octet-stream": _BINARY, "*/*": _BINARY},
        }
    },
)
async def upload_file(
    request: Request,
    repr_digest: ReprDigest = None,
    public: Annotated[bool, Query(description="Readable without a token (admin).")] = False,  # noqa: FBT002  # a parameter of the query
) -> Response:
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/"):
        raise _envelope(content_type)
    header = UploadHeader(content_type=content_type, sha256=expected_sha256(repr_digest), public=public)
    async with (
        MessageTimeout(request.app.state.upload_timeout) as timeout,
        aclosing(request.stream()) as body,
        aclosing(timeout.each(body)) as content,
    ):
        file = await upstreams(request).storage.upload(header, content)
    headers = {"location": f"/v1/files/{file.id}", "cache-control": "no-store"}
    return json_response(serializers.file(file), 201, headers)


@router.head(
    "/v1/files/{file_id}",
    summary="A file's metadata",
    response_class=Response,
    responses={
        200: with_headers("Repr-Digest"),
        304: {"description": "Not modified", **with_headers("Repr-Digest")},
        **problems(401, 404, 412, 422),
    },
    dependencies=[PUBLIC],  # storage shows a private file to its owner alone
    openapi_extra=_OPTIONAL_TOKEN,
)
async def head_file(request: Request, file_id: IdInPath, if_none_match: IfNoneMatch = None) -> Response:
    file = await upstreams(request).storage.stat(file_id)
    headers = _headers(file)
    if not none_match(if_none_match, headers["etag"]):
        return Response(None, 304, headers)
    return Response(None, 200, {**headers, "content-length": str(file.size), "content-type": file.content_type})


@router.get(
    "/v1/files/{file_id}",
    summary="Download a file or a part of it",
    response_class=Response,
    responses={
        200: {"description": "The whole file", "content": _ANY_BYTES, **with_headers("Repr-Digest")},
        206: {
            "description": "The part that `Range` requests",
            "content": _ANY_BYTES,
            **with_headers("Content-Range", "Repr-Digest"),
        },
        304: {"description": "Not modified", **with_headers("Repr-Digest")},
        **problems(401, 404, 412, 416, 422),
    },
    dependencies=[PUBLIC],  # storage shows a private file to its owner alone
    openapi_extra=_OPTIONAL_TOKEN,
)
async def download_file(
    request: Request,
    file_id: IdInPath,
    if_none_match: IfNoneMatch = None,
    range_header: Annotated[str | None, Header(alias="Range", description="One range of bytes.")] = None,
    if_range: Annotated[
        str | None, Header(alias="If-Range", description="The `ETag` for which the range was meant.")
    ] = None,
) -> Response:
    storage = upstreams(request).storage
    file = await storage.stat(file_id)
    headers = _headers(file)
    if not none_match(if_none_match, headers["etag"]):
        return Response(None, 304, headers)
    try:
        part = wanted_bytes(range_header, file.size) if if_range in (None, headers["etag"]) else None
    except ShopError as error:
        unsatisfiable = answer(error)
        unsatisfiable.headers["etag"] = headers["etag"]  # an If-Match is judged by it
        return unsatisfiable
    offset, length = part or (0, file.size)
    headers |= {"content-length": str(length), "content-type": file.content_type}
    if part:
        headers["content-range"] = f"bytes {offset}-{offset + length - 1}/{file.size}"
    async with AsyncExitStack() as source:
        chunks = await source.enter_async_context(aclosing(storage.download(file_id, offset, length)))
        # Read the first piece before the head is sent: an error until then is a problem document, not a truncated body.
        first = await anext(chunks, b"")
        return Streamed(_after(first, chunks), source.pop_all(), status=206 if part else 200, headers=headers)


def _envelope(content_type: str) -> ShopError:
    """A refused multipart form: storing it would store its boundaries and part headers."""
    message = f"the body must be the file's bytes alone (curl --data-binary, not -F), not {content_type[:64]}"
    return ShopError("UNSUPPORTED_MEDIA_TYPE", message, Kind.INVALID, accept=_TAKEN)


async def _after(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


def _headers(file: FileInfo) -> dict[str, str]:
    """The headers of every answer about a file. Its bytes never change; nothing in them may run."""
    return {
        "etag": f'"{file.sha256}"',
        "cache-control": f"{'public' if file.public else 'private'}, max-age=31536000, immutable",
        "accept-ranges": "bytes",
        "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(file.sha256)).decode()}:",
        "content-security-policy": "default-src 'none'; sandbox",
    }


def expected_sha256(repr_digest: str | None) -> str:
    """The SHA-256 that a `Repr-Digest` (RFC 9530) announces, in hexadecimal; empty when it announces none.

    Raises INVALID_INPUT when it is malformed; digests by other algorithms are ignored, as the RFC allows.
    """
    announced = [item.removeprefix("sha-256=") for item in elements(repr_digest or "") if item.startswith("sha-256=")]
    if not announced:
        return ""
    # The last of several counts (RFC 9651, section 3.2); a digest is a byte sequence between colons, and parameters.
    text = announced[-1].partition(";")[0].strip()
    try:
        digest = base64.b64decode(text[1:-1], validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 32 or not (text.startswith(":") and text.endswith(":")):
        raise invalid("the digest cannot be checked", **{"Repr-Digest": "sha-256 must be 32 bytes in base64"})
    return digest.hex()

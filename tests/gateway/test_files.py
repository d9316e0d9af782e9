from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from itertools import pairwise
from urllib.parse import urlsplit

import pytest

from chassis.errors import Kind, ShopError
from gateway.clients.storage import PIECE
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop
from tests.waiting import eventually

LARGE = bytes(range(256)) * 4_000  # 1,024,000 bytes
TEN = b"0123456789"


def digest_of(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


async def in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 10_000):
        yield content[start : start + 10_000]


async def test_upload(shop: Shop) -> None:
    """A chunked upload arrives whole, in messages of at most 256 KiB, and is a 201 that says where it is."""
    headers = {**await shop.signed_in(), "content-type": "image/png", "repr-digest": digest_of(LARGE)}
    response = await shop.client.post("/v1/files", content=in_pieces(LARGE), headers=headers)
    assert (response.status_code, response.headers["location"]) == (201, "/v1/files/new")
    assert (response.json()["size"], response.json()["sha256"]) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert shop.storage.files["new"][1] == LARGE
    assert max(shop.storage.pieces) <= PIECE
    assert all(piece + following > PIECE for piece, following in pairwise(shop.storage.pieces))
    assert shop.storage.behaviour.requests[-1].content_type == "image/png"
    assert shop.storage.behaviour.callers == ["123"]


async def test_wrong_digest(shop: Shop) -> None:
    """An upload that is not what its digest says is a 422, and nothing is kept of it."""
    headers = {**await shop.signed_in(), "repr-digest": digest_of(b"other")}
    response = await shop.client.post("/v1/files", content=TEN, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "DIGEST_MISMATCH")
    assert not shop.storage.files


async def test_malformed_digest(shop: Shop) -> None:
    """A digest that cannot be one is a 422 that names the header."""
    headers = {**await shop.signed_in(), "repr-digest": "sha-256=:AAAA:"}
    response = await shop.client.post("/v1/files", content=TEN, headers=headers)
    assert [error["field"] for error in response.json()["errors"]] == ["Repr-Digest"]


async def test_too_large(start_shop: StartShop) -> None:
    """A file over the limit is a 413, announced or chunked, and nothing is kept of it."""
    async with start_shop(max_file_bytes=500_000) as shop:
        headers = await shop.signed_in()
        for content in (LARGE, in_pieces(LARGE)):
            response = await shop.client.post("/v1/files", content=content, headers=headers)
            assert (response.status_code, response.json()["code"]) == (413, "BODY_TOO_LARGE")
        assert not shop.storage.files


async def test_broken_upload(shop: Shop) -> None:
    """An upload whose client goes away is broken off upstream, and nothing is kept of it."""
    token = await shop.token()
    url = urlsplit(str(shop.client.base_url))
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: 1000000\r\n\r\n"
    writer.write(head.encode() + LARGE[:600_000])
    await eventually(lambda: shop.storage.pieces)
    writer.close()
    await eventually(lambda: shop.storage.broken)
    assert not shop.storage.files


async def test_refused_before_it_is_read(shop: Shop) -> None:
    """What storage refuses before it has read the body is that refusal to the client, however the two cross."""
    headers = await shop.signed_in()
    shop.storage.behaviour.failure = ShopError("FORBIDDEN", "only an admin", Kind.FORBIDDEN)

    async def upload() -> int:
        return (await shop.client.post("/v1/files", content=b"x" * 1_000, headers=headers)).status_code

    for _ in range(25):
        assert await asyncio.gather(*(upload() for _ in range(20))) == [403] * 20


async def test_upload_needs_a_user(shop: Shop) -> None:
    """Uploads are for those who are signed in."""
    assert (await shop.client.post("/v1/files", content=TEN)).status_code == 401


async def test_identity_ends_with_the_request(shop: Shop) -> None:
    """An upload's identity and deadline do not pass to the next request on its connection.

    A body that outruns its reader pauses the connection, which asyncio resumes in the context of the request
    (python/cpython#140947).
    """
    headers = await shop.signed_in()
    first = await shop.client.post("/v1/files", content=LARGE, headers=headers)
    second = await shop.client.get("/v1/users/me")
    assert (first.status_code, second.status_code) == (201, 401)
    assert first.headers["traceparent"][3:35] != second.headers["traceparent"][3:35]


async def test_an_upload_may_pause_as_long_as_the_setting_says(start_shop: StartShop) -> None:
    """A client that pauses within its upload for longer than SHOP_UPLOAD_TIMEOUT is answered 408."""
    async with start_shop(upload_timeout=0.3) as shop:
        token = (await shop.signed_in())["authorization"]
        reader, writer = await asyncio.open_connection(shop.client.base_url.host, shop.client.base_url.port)
        head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 10\r\n\r\nhalf"
        writer.write(head.encode())
        async with asyncio.timeout(10):
            answer = await reader.readuntil(b"}")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"no data received for 0.3 s" in answer


async def test_download(shop: Shop) -> None:
    """A file comes whole, with its length, type, tag and digest, and nothing in it may run."""
    shop.storage.hold("f", LARGE)
    response = await shop.client.get("/v1/files/f")
    assert (response.status_code, response.content) == (200, LARGE)
    assert response.headers["content-length"] == str(len(LARGE))
    assert response.headers["content-type"] == "text/plain"
    assert response.headers["etag"] == f'"{hashlib.sha256(LARGE).hexdigest()}"'
    assert response.headers["repr-digest"] == digest_of(LARGE)
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_head(shop: Shop) -> None:
    """HEAD says the same as GET, without the bytes and without fetching them."""
    shop.storage.hold("f", TEN)
    head = await shop.client.head("/v1/files/f")
    assert not shop.storage.behaviour.requests
    get = await shop.client.get("/v1/files/f")
    varying = {"date", "x-request-id", "traceparent", "ratelimit"}
    assert (head.status_code, head.content) == (200, b"")
    assert {k: v for k, v in head.headers.items() if k not in varying} == {
        k: v for k, v in get.headers.items() if k not in varying
    }


@pytest.mark.parametrize("public", [True, False])
async def test_caches(shop: Shop, public: bool) -> None:
    """Shared caches may keep a file only if it is public."""
    shop.storage.hold("f", TEN, public=public)
    response = await shop.client.get("/v1/files/f")
    assert response.headers["cache-control"].startswith("public" if public else "private")


@pytest.mark.parametrize(
    ("wanted", "content", "content_range"),
    [
        ("bytes=0-3", b"0123", "bytes 0-3/10"),
        ("bytes=4-", b"456789", "bytes 4-9/10"),
        ("bytes=-3", b"789", "bytes 7-9/10"),
        ("bytes=8-100", b"89", "bytes 8-9/10"),
    ],
)
async def test_range(shop: Shop, wanted: str, content: bytes, content_range: str) -> None:
    """A range is a 206 with just these bytes."""
    shop.storage.hold("f", TEN)
    response = await shop.client.get("/v1/files/f", headers={"range": wanted})
    assert (response.status_code, response.content) == (206, content)
    assert (response.headers["content-range"], response.headers["content-length"]) == (content_range, str(len(content)))


async def test_range_of_another_version(shop: Shop) -> None:
    """A range that was meant for another version is answered with the whole file."""
    shop.storage.hold("f", TEN)
    response = await shop.client.get("/v1/files/f", headers={"range": "bytes=0-3", "if-range": '"other"'})
    assert (response.status_code, response.content) == (200, TEN)


async def test_range_not_satisfiable(shop: Shop) -> None:
    """A range behind the end is a 416 that says how long the file is."""
    shop.storage.hold("f", TEN)
    response = await shop.client.get("/v1/files/f", headers={"range": "bytes=10-"})
    assert (response.status_code, response.headers["content-range"]) == (416, "bytes */10")


async def test_not_modified(shop: Shop) -> None:
    """A client that has the file already gets a 304."""
    shop.storage.hold("f", TEN)
    etag = (await shop.client.head("/v1/files/f")).headers["etag"]
    for method in ("GET", "HEAD"):
        assert (await shop.client.request(method, "/v1/files/f", headers={"if-none-match": etag})).status_code == 304


async def test_empty(shop: Shop) -> None:
    """An empty file can be uploaded and downloaded."""
    await shop.client.post("/v1/files", content=b"", headers=await shop.signed_in())
    response = await shop.client.get("/v1/files/new", headers=await shop.signed_in())
    assert (response.status_code, response.content) == (200, b"")


async def test_unknown(shop: Shop) -> None:
    """A file that is not there is a 404."""
    assert (await shop.client.get("/v1/files/nothing")).status_code == 404

"""What is refused before anything is made of it: a read that insists on another version, a body in an envelope."""

from __future__ import annotations

import gzip

import pytest

from protos.shop.storage.v1.storage_pb2 import FileInfo
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/products/42", "/v1/files/f"])
async def test_if_match_on_a_read(start_shop: StartShop, path: str, method: str, cached: bool) -> None:
    """RFC 9110, 13.1.1: a read whose If-Match names another version is a 412, also where a cache could answer it."""
    async with start_shop(edge_cache_bytes=1 << 20 if cached else 0) as shop:
        shop.storage.files["f"] = FileInfo(id="f", size=5, sha256="ab" * 32, content_type="text/plain"), b"hello"
        first = await shop.client.get(path, headers={"accept-encoding": "identity"})
        assert first.status_code == 200
        etag = first.headers["etag"]
        for if_match, expected in (
            ("*", 200),
            (etag, 200),
            (f'"other", {etag}', 200),
            ('"other"', 412),
            (f"W/{etag}", 412),
            ("nonsense", 412),
        ):
            response = await shop.client.request(method, path, headers={"if-match": if_match})
            assert (if_match, response.status_code) == (if_match, expected)
        assert response.headers["content-type"] == "application/problem+json"
        assert "etag" not in response.headers
        # 13.2.2: If-Match comes before If-None-Match.
        both = await shop.client.get(path, headers={"if-match": '"other"', "if-none-match": etag})
        assert (both.status_code, both.json()["code"]) == (412, "VERSION_MISMATCH")
        unchanged = await shop.client.get(path, headers={"if-match": etag, "if-none-match": etag})
        assert unchanged.status_code == 304


async def test_if_match_comes_before_a_range(shop: Shop) -> None:
    """RFC 9110, 13.2.2: a failing If-Match is a 412, whether the range could be satisfied or not; a true one is not."""
    shop.storage.files["f"] = FileInfo(id="f", size=5, sha256="ab" * 32, content_type="text/plain"), b"hello"
    for wanted, status in (("bytes=0-1", 206), ("bytes=5-", 416), ("bytes=-0", 416)):
        for if_match, expected in (('"other"', 412), (f'"{"ab" * 32}"', status)):
            response = await shop.client.get("/v1/files/f", headers={"if-match": if_match, "range": wanted})
            assert (wanted, if_match, response.status_code) == (wanted, if_match, expected)


async def test_if_match_of_a_compressed_read(shop: Shop) -> None:
    """The tag of a compressed answer names the version, whatever coding the next answer has."""
    shop.catalog.products["42"].description = "long " * 1_000
    for coding in ("gzip", "br"):
        tag = (await shop.client.get("/v1/products/42", headers={"accept-encoding": coding})).headers["etag"]
        assert coding in tag
        for accepted in ("identity", coding):
            headers = {"accept-encoding": accepted, "if-match": tag}
            assert (await shop.client.get("/v1/products/42", headers=headers)).status_code == 200


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "Multipart/Mixed; boundary=x"])
async def test_multipart_upload(shop: Shop, content_type: str) -> None:
    """A form with a file in it is a 415 that says what is taken: its envelope would be stored as part of the file."""
    headers = {**await shop.signed_in(), "content-type": content_type}
    response = await shop.client.post("/v1/files", content=b"--x\r\n\r\nhello\r\n--x--", headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert response.headers["accept"] == "application/octet-stream, */*;q=0.9, multipart/*;q=0"
    assert "new" not in shop.storage.files


@pytest.mark.parametrize("coding", ["gzip", "GZIP, br", "identity, zstd"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/files"), ("POST", "/v1/products"), ("PATCH", "/v1/products/42")]
)
async def test_coded_body(shop: Shop, method: str, path: str, coding: str) -> None:
    """RFC 9110, 12.5.3: a body with a content coding is a 415 that says which codings are taken."""
    headers = {**await shop.admin(), "content-type": "application/json", "content-encoding": coding}
    response = await shop.client.request(method, path, content=gzip.compress(b"{}"), headers=headers)
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "identity")
    assert "new" not in shop.storage.files


async def test_identity_is_no_coding(shop: Shop) -> None:
    """What is said to have no coding is taken as it is."""
    headers = {**await shop.signed_in(), "content-type": "text/plain", "content-encoding": "identity"}
    assert (await shop.client.post("/v1/files", content=b"hello", headers=headers)).status_code == 201


async def test_json_type(shop: Shop) -> None:
    """A body of another type than JSON is a 415 that says what is taken."""
    headers = {**await shop.admin(), "content-type": "text/xml"}
    response = await shop.client.post("/v1/products", content=b"<product/>", headers=headers)
    assert (response.status_code, response.headers["accept"]) == (415, "application/json")


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "HEAD"])
async def test_safe_methods_leave_the_cache(start_shop: StartShop, method: str) -> None:
    """RFC 9111, 4.4: only an unsafe method makes what is stored invalid."""
    async with start_shop(edge_cache_bytes=1 << 20) as shop:
        for path in ("/v1/products/42", "/v1/products"):
            await shop.client.get(path)
            await shop.client.request(method, path)
            preflight = {"origin": "http://localhost:5173", "access-control-request-method": "GET"}
            await shop.client.request(method, path, headers=preflight)
            assert "hit" in (await shop.client.get(path)).headers["cache-status"]

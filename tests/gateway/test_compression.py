from __future__ import annotations

import pytest

from gateway.middleware.compression import coding_for
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop


def with_long_description(shop: Shop) -> None:
    shop.catalog.products["42"].description = "A keyboard that clicks. " * 100


@pytest.mark.parametrize("coding", ["br", "gzip"])
async def test_long_json(shop: Shop, coding: str) -> None:
    """JSON of a kilobyte and more is compressed for clients that accept it, and Vary says so."""
    with_long_description(shop)
    plain = await shop.client.get("/v1/products/42", headers={"accept-encoding": "identity"})
    response = await shop.client.get("/v1/products/42", headers={"accept-encoding": coding})
    assert response.headers["content-encoding"] == coding
    assert int(response.headers["content-length"]) < len(plain.content) / 5
    assert response.content == plain.content
    assert "content-encoding" not in plain.headers
    assert response.headers["vary"] == plain.headers["vary"] == "Accept-Encoding, Origin"


async def test_short_json(shop: Shop) -> None:
    """What would not get any shorter on the wire is left as it is."""
    response = await shop.client.get("/v1/products/42", headers={"accept-encoding": "br, gzip"})
    assert "content-encoding" not in response.headers
    assert response.headers["vary"] == "Accept-Encoding, Origin"


async def test_files_are_left_alone(shop: Shop) -> None:
    """A file comes as its bytes, whatever they are: ranges count them."""
    shop.storage.hold("f", b"text " * 1_000)
    response = await shop.client.get("/v1/files/f", headers={"accept-encoding": "br, gzip"})
    assert "content-encoding" not in response.headers
    assert response.headers["content-length"] == "5000"


async def test_not_modified(shop: Shop) -> None:
    """Each coding has an entity tag of its own, which gets a 304 with itself."""
    with_long_description(shop)
    for accepted in ("br", "gzip", "identity"):
        headers = {"accept-encoding": accepted}
        etag = (await shop.client.get("/v1/products/42", headers=headers)).headers["etag"]
        again = await shop.client.get("/v1/products/42", headers={**headers, "if-none-match": etag})
        assert (again.status_code, again.headers["etag"]) == (304, etag)


async def test_write_with_a_compressed_tag(shop: Shop) -> None:
    """A client that has read a compressed representation can write on the condition that it is still current."""
    with_long_description(shop)
    etag = (await shop.client.get("/v1/products/42", headers={"accept-encoding": "br"})).headers["etag"]
    assert etag == '"42-3;br"'
    headers = {**await shop.admin(), "if-match": etag}
    statuses = [
        (await shop.client.patch("/v1/products/42", json={"price": "1.00"}, headers=headers)).status_code
        for _ in range(2)
    ]
    assert statuses == [200, 412]


async def test_head(start_shop: StartShop) -> None:
    """HEAD says the length that GET would have in this coding."""
    async with start_shop() as shop:
        with_long_description(shop)
        head = await shop.client.head("/v1/products/42", headers={"accept-encoding": "br"})
        get = await shop.client.get("/v1/products/42", headers={"accept-encoding": "br"})
    assert head.headers["content-length"] == get.headers["content-length"]
    assert head.headers["content-encoding"] == "br"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br;q=0, gzip;q=0", ""),
        ("*", "br"),
        ("*;q=0", ""),
        ("br;q=0, *", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=x, ;;, br", "br"),
    ],
)
def test_coding_for(accepted: str, coding: str) -> None:
    """RFC 9110, 12.5.3: the client's weights decide, and brotli where they do not."""
    assert coding_for(accepted) == coding

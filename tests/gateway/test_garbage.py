"""Garbage at the edge: whatever comes as a body or a header is refused in words, at once, and harms no other client."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator

import httpx

from tests.gateway.fakes import Shop

ORDER = json.dumps({"items": [{"product_id": "42", "quantity": 1}]}).encode()
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nbytes\r\n--x--\r\n'
BODIES = [
    ("/v1/orders", "application/json", ORDER),
    ("/v1/users", "application/json", b'{"name": "Eve", "email": "eve@example.com", "password": "correct horse"}'),
    ("/v1/auth/token", "application/x-www-form-urlencoded", b"username=ada%40example.com&password=x"),
    ("/v1/files", "multipart/form-data; boundary=x", FORM),
]
HEADERS = {
    "authorization": b"Bearer eyJhbGciOiJFZERTQSJ9.e30.c2ln",
    "idempotency-key": b"0b7e6c1a",
    "if-none-match": b'W/"abc", "def"',
    "accept": b"application/json;q=0.9, */*;q=0.1",
    "accept-encoding": b"gzip;q=1.0, identity; q=0.5",
    "prefer": b"wait=1",
    "range": b"bytes=0-10,20-",
    "traceparent": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "cookie": b"a=b; c=d",
}
CONCURRENCY = 16


def garbled(valid: bytes, draw: random.Random) -> Iterator[bytes]:
    """What is left of something valid when bytes are lost, changed, repeated or put into it."""
    for _ in range(8):
        at, until = sorted(draw.sample(range(len(valid) + 1), 2))
        yield valid[:at]
        yield valid[:at] + draw.randbytes(3) + valid[until:]
        yield valid[:until] + valid[at:]
    yield from (b"", b"\x00", b"[" * 5_000, b'{"a":' * 5_000, b"1e999999", b'"\\ud800"', b"\xff\xfe" + valid)


async def test_garbled_bodies_are_refused_in_words(shop: Shop) -> None:
    """Of every kind: no internal error, and an answer that says what is wrong."""
    draw, gate = random.Random(13), asyncio.Semaphore(CONCURRENCY)  # noqa: S311 - the same garbage each time
    token = await shop.signed_in()

    async def send(path: str, content_type: str, body: bytes) -> None:
        async with gate:
            headers = {**token, "content-type": content_type}
            answer = await shop.client.post(path, content=body, headers=headers)
        assert answer.status_code < 500, (path, body, answer.text)
        assert answer.status_code < 400 or answer.json(), (path, body)

    await asyncio.gather(*(send(path, type_, body) for path, type_, valid in BODIES for body in garbled(valid, draw)))


async def test_garbled_headers_are_refused_in_words(shop: Shop) -> None:
    """Or passed over, where that is what their specification says."""
    draw, gate = random.Random(14), asyncio.Semaphore(CONCURRENCY)  # noqa: S311 - as above

    async def send(name: str, value: bytes) -> None:
        printable = bytes(byte for byte in value if byte >= 32 and byte != 127)[:2_000].strip()
        async with gate:
            answer = await shop.client.get("/v1/products/42", headers=[(name.encode(), printable)])
        assert answer.status_code < 500, (name, printable, answer.text)

    garbage = [(name, value) for name, valid in HEADERS.items() for value in garbled(valid, draw)]
    told = await asyncio.gather(*(send(*each) for each in garbage), return_exceptions=True)
    # What is no HTTP any more ends the connection.
    assert [each for each in told if not (each is None or isinstance(each, httpx.RemoteProtocolError))] == []
    assert (await shop.client.get("/v1/products/42")).status_code == 200

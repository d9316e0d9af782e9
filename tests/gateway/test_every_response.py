"""Every response names its request and its trace, whichever layer gives it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop

REQUEST_ID = re.compile(r"[0-9a-f]{32}")
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def names_both(headers: Mapping[str, str]) -> bool:
    return bool(
        REQUEST_ID.fullmatch(headers.get("x-request-id", "")) and TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    )


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/products/42", 200),
        ("HEAD", "/v1/products/42", 200),
        ("OPTIONS", "/v1/products/42", 204),
        ("GET", "/healthz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/nowhere", 404),
        ("OPTIONS", "/nowhere", 404),
        ("GET", "/v1/products/4711", 404),
        ("GET", "/v1/users/me", 401),
        ("DELETE", "/v1/orders", 405),
        ("POST", "/v1/users", 415),
        ("GET", "/graphql?query={me{id}}", 503),
    ],
)
async def test_routes(shop: Shop, method: str, path: str, status: int) -> None:
    """What is found, what is not, what is refused and what fails: all of it can be traced."""
    response = await shop.client.request(method, path)
    assert response.status_code == status
    assert names_both(response.headers)


async def test_policies(start_shop: StartShop) -> None:
    """So do a preflight's answer, a refusal by quota, a body that is too large and a token that is not valid."""
    async with start_shop(client_rate_limit="3/minute", cors_origins="https://shop.example") as shop:
        asked = {"origin": "https://shop.example", "access-control-request-method": "GET"}
        responses = [
            await shop.client.options("/v1/products/42", headers=asked),
            await shop.client.get("/v1/products/42", headers={"authorization": "Bearer x"}),
            await shop.client.post("/v1/users", content=b" " * 300_000),
            await shop.client.get("/v1/products/42"),
            await shop.client.get("/v1/products/42"),
        ]
    assert [response.status_code for response in responses] == [200, 401, 413, 200, 429]
    assert all(names_both(response.headers) for response in responses)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, b"MALFORMED_REQUEST"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1, 2\r\n\r\n", 400, b"MALFORMED_REQUEST"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400, b"MALFORMED"),
    ],
)
async def test_what_is_no_http(shop: Shop, sent: bytes, status: int, code: bytes) -> None:
    """What never becomes a request is answered with a problem all the same, and with ids to ask for."""
    url = urlsplit(str(shop.client.base_url))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first.startswith(f"HTTP/1.1 {status} ")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert names_both(headers)
    assert headers["content-type"] == "application/problem+json"
    assert code in body

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from limits import parse
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.observability.tracing import Telemetry
from gateway.bootstrap import Settings
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop


async def endless() -> AsyncIterator[bytes]:
    for _ in range(1_000):
        yield b" " * 10_000


async def test_ids(shop: Shop) -> None:
    """Every response names its request and its trace; a client's own request id is kept if it is harmless."""
    response = await shop.client.get("/v1/products/42", headers={"x-request-id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", response.headers["traceparent"])
    response = await shop.client.get("/v1/products/42", headers={"x-request-id": "a b"})
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])


async def test_one_span_each_side(start_shop: StartShop, spans: Telemetry, exported: InMemorySpanExporter) -> None:
    """A request has one server span and one client span for each call: the framework adds none."""
    async with start_shop() as shop:
        await shop.client.get("/v1/products/42")
    spans.close()
    made = {(span.name, span.kind.name) for span in exported.get_finished_spans()}
    assert made == {
        ("GET /v1/products/42", "SERVER"),
        ("shop.catalog.v1.CatalogService/GetProducts", "CLIENT"),
    }


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.e30", "\xe4\xf6", "x" * 7_000])
async def test_bad_token(shop: Shop, token: str) -> None:
    """A token that is not valid is a 401 that says so, even where none is needed."""
    headers = {"authorization": f"Bearer {token}".encode("latin-1")}
    response = await shop.client.get("/v1/products/42", headers=headers)  # type: ignore[arg-type]
    assert (response.status_code, response.json()["code"]) == (401, "INVALID_TOKEN")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_caller_reaches_upstreams(shop: Shop) -> None:
    """The caller's token goes along, so that every service decides for itself."""
    await shop.client.get("/v1/products/42", headers=await shop.signed_in())
    await shop.client.get("/v1/products/42")
    assert shop.catalog.behaviour.callers == ["123", ""]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/users", "application/json"),
        ("/graphql", "application/json"),
        ("/v1/auth/token", "application/x-www-form-urlencoded"),
    ],
)
async def test_large_body(shop: Shop, path: str, content_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body over 256 KiB is a 413 problem, announced or endless."""
    # A busy machine needs more than a second to send what is read and dropped.
    monkeypatch.setattr("gateway.middleware.body_limit._LINGER", 20.0)
    for content in (b" " * 300_000, endless()):
        response = await shop.client.post(path, content=content, headers={"content-type": content_type})
        assert (response.status_code, response.json()["code"]) == (413, "BODY_TOO_LARGE")


async def test_late_body(start_shop: StartShop) -> None:
    """A body that does not arrive within the request's budget is a 408 problem."""
    async with start_shop(request_budget=0.2) as shop:
        url = urlsplit(str(shop.client.base_url))
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        head = "POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        writer.write(head.encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


def test_settings_are_checked() -> None:
    """A rate limit that is not one stops the process at its start."""
    assert parse(Settings().client_rate_limit).amount > 0
    with pytest.raises(ValueError, match="AMOUNT/PERIOD"):
        Settings(client_rate_limit="lots")

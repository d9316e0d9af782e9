from __future__ import annotations

import json
import re

import pytest

from chassis.errors import Kind, ShopError, timed_out, unavailable
from gateway.errors import answer, field_path
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop
from tools.openapi_check import DOCUMENT

MEMBERS = {"type", "title", "status", "detail", "code", "trace_id"}


async def test_problem(shop: Shop) -> None:
    """A problem has the members of the surface, and the trace that the response's header names."""
    response = await shop.client.get("/v1/products/4711")
    assert response.headers["content-type"] == "application/problem+json"
    assert set(response.json()) == MEMBERS
    assert response.json()["status"] == response.status_code == 404
    assert response.json()["trace_id"] == response.headers["traceparent"][3:35]


async def test_unknown_path(shop: Shop) -> None:
    """A path that does not exist is a 404 problem, with a slash too many as well."""
    for path in ("/nowhere", "/v1/products/"):
        response = await shop.client.get(path)
        assert (response.status_code, set(response.json())) == (404, MEMBERS)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/products", "GET, HEAD, OPTIONS, POST"),
        ("/v1/products/42", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
        ("/v1/auth/token", "OPTIONS, POST"),
    ],
)
async def test_wrong_method(shop: Shop, path: str, allowed: str) -> None:
    """A method that a path does not have is a 405 problem that names all those it has."""
    response = await shop.client.request("TRACE", path)
    assert (response.status_code, set(response.json())) == (405, MEMBERS)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"name": nul}', b"\xff\xfe", b"[" * 100_000, b'{"name": ' + b"9" * 5_000 + b"}", b'{"name": "\\ud800"}'],
)
@pytest.mark.parametrize("path", ["/v1/users", "/v1/orders"])
async def test_bad_json(shop: Shop, path: str, body: bytes) -> None:
    """What is no JSON is a 422 problem, however it is broken."""
    headers = {**await shop.signed_in(), "content-type": "application/json"}
    response = await shop.client.post(path, content=body, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "INVALID_INPUT")
    assert response.json()["errors"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
async def test_json_is_utf_8(shop: Shop, encoding: str) -> None:
    """Every route that takes JSON takes it as UTF-8 without a byte order mark (RFC 8259, section 8.1)."""
    headers = {**await shop.admin(), "content-type": "application/json"}
    taking = [
        (method, path)
        for path, operations in json.loads(DOCUMENT.read_text())["paths"].items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert len(taking) >= 7
    for method, path in taking:
        url = re.sub(r"\{\w+\}", "1", path)
        response = await shop.client.request(method, url, content='{"name": "x"}'.encode(encoding), headers=headers)
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "body"), (method, path)


@pytest.mark.parametrize("path", ["/v1/users", "/v1/orders"])
async def test_not_json(shop: Shop, path: str) -> None:
    """A body that is not declared as JSON is a 415."""
    headers = {**await shop.signed_in(), "content-type": "text/plain"}
    response = await shop.client.post(path, content=b"name=Ada", headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (ShopError("OUT_OF_ORDER", "no", Kind.FORBIDDEN), 403, None),
        (ShopError("CLASH", "no", Kind.CONFLICT), 409, None),
        (unavailable("inventory", retry_after=3), 503, "3"),
        (timed_out("inventory"), 504, "1"),
        (ShopError("INTERNAL", "division by zero at catalog.py:17", Kind.INTERNAL), 500, None),
        (ValueError("secret"), 500, None),
    ],
)
async def test_upstream_errors(shop: Shop, failure: Exception, status: int, retry_after: str | None) -> None:
    """What an upstream refuses keeps its meaning; what is internal stays there."""
    shop.catalog.behaviour.failure = failure
    response = await shop.client.get("/v1/products/42")
    assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
    if status == 500:
        assert (response.json()["code"], response.json()["detail"]) == ("INTERNAL", "internal error")


async def test_upstream_away(start_shop: StartShop) -> None:
    """An upstream that cannot be reached is a 503 that says when to come back."""
    async with start_shop(catalog_address="127.0.0.1:1") as shop:
        response = await shop.client.get("/v1/products/42")
    assert (response.status_code, response.json()["code"]) == (503, "UPSTREAM_UNAVAILABLE")
    assert int(response.headers["retry-after"]) >= 1


async def test_upstream_silent(start_shop: StartShop) -> None:
    """An upstream that does not answer within the request's budget is a 504; it got the deadline."""
    async with start_shop(request_budget=1.5) as shop:
        await shop.client.get("/v1/products/42")  # connects
        shop.catalog.behaviour.seconds_left.clear()
        shop.catalog.behaviour.silent = True
        response = await shop.client.get("/v1/products/42")
        assert (response.status_code, response.json()["code"]) == (504, "DEADLINE_EXCEEDED")
        left = shop.catalog.behaviour.seconds_left[-1]
        assert left is not None
        assert 0 < left <= 1.6  # gRPC rounds it up


def test_gateway_bug() -> None:
    """An unexpected error shows a client nothing but that."""
    response = answer(ShopError("INTERNAL", "KeyError('password')", Kind.INTERNAL))
    assert response.status_code == 500
    assert b"password" not in response.body


def test_busy_upstream() -> None:
    """An upstream that is full is a 503: the client has not asked too much."""
    assert answer(ShopError("UPSTREAM_RESOURCE_EXHAUSTED", "full", Kind.EXHAUSTED)).status_code == 503


def test_reused_key() -> None:
    """Codes that say more than their kind have a status of their own."""
    response = answer(ShopError("IDEMPOTENCY_KEY_REUSED", "no", Kind.PRECONDITION))
    assert json.loads(bytes(response.body))["title"] == "Unprocessable Content"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (("body", "items", 0, "quantity"), "items[0].quantity"),
        (("query", "limit"), "limit"),
        (("body",), "body"),
        (("body", 3, 4, "a", "b"), "[3][4].a.b"),
    ],
)
def test_field_path(location: tuple[str | int, ...], path: str) -> None:
    """Where a value stands is written as one would write it in a program."""
    assert field_path(location) == path

from __future__ import annotations

import json
from typing import Any

import pytest

from chassis.errors import Kind, ShopError
from tests.gateway.fakes import Shop

BASKET = {"items": [{"product_id": "42", "quantity": 2}]}


async def test_place(shop: Shop) -> None:
    """An accepted order is a 202 that says where it is, in the shape of the surface."""
    response = await shop.client.post("/v1/orders", json=BASKET, headers=await shop.signed_in())
    assert (response.status_code, response.headers["location"]) == (202, "/v1/orders/order-0")
    assert response.json() == {
        "id": "order-0",
        "user_id": "123",
        "status": "pending",
        "status_reason": None,
        "items": [{"product_id": "42", "name": "Product 42", "quantity": 2, "unit_price": "49.00"}],
        "total": "98.00",
        "currency": "EUR",
        "placed_at": "2026-01-05T12:00:00.250000Z",
    }


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/shop+json"])
async def test_json_by_another_name(shop: Shop, media_type: str) -> None:
    """However JSON is declared, an order in it is accepted."""
    headers = {**await shop.signed_in(), "content-type": media_type}
    response = await shop.client.post("/v1/orders", content=json.dumps(BASKET), headers=headers)
    assert (response.status_code, response.json()["total"]) == (202, "98.00")


async def test_repeat(shop: Shop) -> None:
    """The same key and body get the same answer again."""
    headers = {**await shop.signed_in(), "idempotency-key": "k1"}
    first, again = [await shop.client.post("/v1/orders", json=BASKET, headers=headers) for _ in range(2)]
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert {request.idempotency_key for request in shop.orders.behaviour.requests} == {"k1"}


async def test_key_reused(shop: Shop) -> None:
    """The same key with another body is a 422."""
    headers = {**await shop.signed_in(), "idempotency-key": "k1"}
    await shop.client.post("/v1/orders", json=BASKET, headers=headers)
    other = {"items": [{"product_id": "42", "quantity": 3}]}
    response = await shop.client.post("/v1/orders", json=other, headers=headers)
    assert (response.status_code, response.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_own_key(shop: Shop) -> None:
    """Orders placed without a key are different orders, each with a key that makes its call safe to repeat."""
    headers = await shop.signed_in()
    places = [
        (await shop.client.post("/v1/orders", json=BASKET, headers=headers)).headers["location"] for _ in range(2)
    ]
    assert places == ["/v1/orders/order-0", "/v1/orders/order-1"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "\xe4"])
async def test_bad_key(shop: Shop, key: str) -> None:
    """A key that is empty, too long or not visible ASCII is a 422 that names the header."""
    headers = [*(await shop.signed_in()).items(), ("idempotency-key", key.encode("latin-1"))]
    response = await shop.client.post("/v1/orders", json=BASKET, headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["Idempotency-Key"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"items": []}, "items"),
        ({}, "items"),
        ({"items": [{"product_id": "42", "quantity": 0}]}, "items[0].quantity"),
        ({"items": [{"product_id": "42", "quantity": -1}]}, "items[0].quantity"),
        ({"items": [{"product_id": "42", "quantity": 1001}]}, "items[0].quantity"),
        ({"items": [{"product_id": "42", "quantity": 1.0}]}, "items[0].quantity"),
        ({"items": [{"product_id": "42", "quantity": True}]}, "items[0].quantity"),
        ({"items": [{"product_id": "42", "quantity": "1"}]}, "items[0].quantity"),
        ({"items": [{"product_id": "42", "quantity": 10**30}]}, "items[0].quantity"),
        ({"items": [{"product_id": "1", "quantity": 1}, {"product_id": 42, "quantity": 1}]}, "items[1].product_id"),
        ({"items": [{"product_id": "42", "quantity": 1, "price": "0.01"}]}, "items[0].price"),
        ({**BASKET, "user_id": "456"}, "user_id"),
        ([], "body"),
        ("x", "body"),
    ],
)
async def test_bad_order(shop: Shop, body: Any, field: str) -> None:
    """A wrong value, a wrong type, or an unknown field is a 422 that names exactly it."""
    response = await shop.client.post("/v1/orders", json=body, headers=await shop.signed_in())
    assert (response.status_code, response.json()["code"]) == (422, "INVALID_INPUT")
    assert [error["field"] for error in response.json()["errors"]] == [field]
    assert not shop.orders.behaviour.requests


async def test_refused_by_orders(shop: Shop) -> None:
    """What orders finds wrong is named in the same way."""
    shop.orders.behaviour.failure = ShopError(
        "INVALID_INPUT", "some products do not exist", Kind.INVALID, fields={"items[0].product_id": "no such product"}
    )
    response = await shop.client.post("/v1/orders", json=BASKET, headers=await shop.signed_in())
    assert response.status_code == 422
    assert response.json()["errors"] == [{"field": "items[0].product_id", "detail": "no such product"}]


async def test_get(shop: Shop) -> None:
    """An order is readable, for this caller alone, whose cache has to ask whether it is still the same."""
    response = await shop.client.get("/v1/orders/123", headers=await shop.signed_in())
    assert (response.status_code, response.json()["id"]) == (200, "123")
    assert response.headers["cache-control"] == "private, no-cache"


async def test_several(shop: Shop) -> None:
    """Several orders come in one call; those that are not there are left out."""
    response = await shop.client.get("/v1/orders?ids=123,999", headers=await shop.signed_in())
    assert [item["id"] for item in response.json()["items"]] == ["123"]
    assert [list(request.ids) for request in shop.orders.behaviour.requests] == [["123", "999"]]


async def test_unknown(shop: Shop) -> None:
    """An order that is not there, or not the caller's, is a 404."""
    assert (await shop.client.get("/v1/orders/999", headers=await shop.signed_in())).status_code == 404


@pytest.mark.parametrize(
    ("query", "user_ids", "size"),
    [("", [], 20), ("?user_id=123&limit=5", ["123"], 5), ("?user_id=1,2", ["1", "2"], 20)],
)
async def test_list(shop: Shop, query: str, user_ids: list[str], size: int) -> None:
    """Orders are listed for the caller, for one user, or for several at once."""
    response = await shop.client.get(f"/v1/orders{query}", headers=await shop.signed_in())
    assert [item["id"] for item in response.json()["items"]] == ["123"]
    assert response.json()["next_cursor"] is None
    request = shop.orders.behaviour.requests[-1]
    assert (list(request.user_ids), request.page_size) == (user_ids, size)


async def test_cancel(shop: Shop) -> None:
    """A cancellation is accepted with a 202."""
    response = await shop.client.post("/v1/orders/123/cancel", headers=await shop.signed_in())
    assert (response.status_code, response.headers["location"]) == (202, "/v1/orders/123")


async def test_too_late_to_cancel(shop: Shop) -> None:
    """A cancellation that comes too late is a 409."""
    shop.orders.behaviour.failure = ShopError("TOO_LATE_TO_CANCEL", "paid already", Kind.PRECONDITION)
    response = await shop.client.post("/v1/orders/123/cancel", headers=await shop.signed_in())
    assert (response.status_code, response.json()["code"]) == (409, "TOO_LATE_TO_CANCEL")


async def test_history(shop: Shop) -> None:
    """An order's history is its events, each with its payload."""
    response = await shop.client.get("/v1/orders/123/events", headers=await shop.signed_in())
    event = {"id": "e1", "type": "order.placed", "sequence": 1, "time": "2026-01-05T12:00:00.250000Z"}
    assert response.json() == {"items": [{**event, "data": {"order_id": "123"}}]}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", ""), ("GET", ""), ("GET", "/123"), ("POST", "/123/cancel"), ("GET", "/123/events")],
)
async def test_anonymous(shop: Shop, method: str, path: str) -> None:
    """Orders are for those who are signed in."""
    response = await shop.client.request(method, f"/v1/orders{path}", json=BASKET if method == "POST" else None)
    assert (response.status_code, response.json()["code"]) == (401, "UNAUTHENTICATED")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert not shop.orders.behaviour.requests

"""The three authorization risks at the top of OWASP's list for APIs, tried by two users, on the real services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.shop import Shop, shop_in_one_loop

ADA, BOB = ("ada@example.com", "ada's password"), ("bob@example.com", "bob's password")
ORDER = {"items": [{"product_id": "42", "quantity": 1}]}


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """The shop, with two customers who have registered a moment ago."""
    async with shop_in_one_loop(tmp_path) as running:
        for email, password in (ADA, BOB):
            account = {"name": email.partition("@")[0], "email": email, "password": password}
            assert (await running.http.post("/v1/users", json=account)).status_code == 201
        yield running


async def me(shop: Shop, who: tuple[str, str]) -> str:
    return str((await shop.http.get("/v1/users/me", headers=await shop.bearer(*who))).json()["id"])


async def placed(shop: Shop, who: tuple[str, str]) -> str:
    response = await shop.http.post("/v1/orders", json=ORDER, headers=await shop.bearer(*who))
    assert response.status_code == 202
    return str(response.json()["id"])


async def test_objects(shop: Shop) -> None:
    """API1: an order, an account and a private file of Ada's are, to Bob, as if they were not there."""
    ada, bob = await shop.bearer(*ADA), await shop.bearer(*BOB)
    order, account = await placed(shop, ADA), await me(shop, ADA)
    file = (await shop.http.post("/v1/files", content=b"secret", headers=ada)).json()["id"]
    hers = [
        ("GET", f"/v1/orders/{order}"),
        ("GET", f"/v1/orders/{order}/events"),
        ("POST", f"/v1/orders/{order}/cancel"),
        ("GET", f"/v1/orders?user_id={account}"),
        ("GET", f"/v1/users/{account}"),
        ("GET", f"/v1/files/{file}"),
        ("HEAD", f"/v1/files/{file}"),
    ]
    for method, path in hers:
        assert (await shop.http.request(method, path, headers=bob)).status_code == 404, path
        assert (await shop.http.request(method, path)).status_code in (401, 404), path
    for method, path in hers:
        assert (await shop.http.request(method, path, headers=ada)).status_code in (200, 202, 409), path
    assert order not in (await shop.http.get("/v1/orders", headers=bob)).text
    assert (await shop.http.get(f"/v1/users?ids={account}", headers=bob)).json()["items"] == []


async def test_objects_by_graphql(shop: Shop) -> None:
    """API1, the other way in: the graph shows Bob no more of Ada's than REST does."""
    order, account = await placed(shop, ADA), await me(shop, ADA)
    query = f'{{ user(id: "{account}") {{ email }} order(id: "{order}") {{ total }} me {{ orders {{ id }} }} }}'
    answer = await _asked(shop, BOB, query)
    assert answer["data"] == {"user": None, "order": None, "me": {"orders": []}}
    answer = await _asked(shop, BOB, f'mutation {{ cancelOrder(id: "{order}") {{ status }} }}')
    assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert (await _asked(shop, ADA, query))["data"]["order"] is not None


async def test_properties(shop: Shop) -> None:
    """API3: no caller sets fields that are not theirs, and no answer shows more than the document says."""
    ada = await shop.bearer(*ADA)
    eve = {"name": "Eve", "email": "eve@example.com", "password": "eve's password"}
    refused: list[tuple[httpx.Response, str]] = [
        (await shop.http.post("/v1/users", json={**eve, "role": "admin"}), "role"),
        (await shop.http.post("/v1/users", json={**eve, "id": "1"}), "id"),
    ]
    for field, value in {"status": "paid", "user_id": "123", "total": "0.01", "currency": "EUR"}.items():
        refused.append((await shop.http.post("/v1/orders", json={**ORDER, field: value}, headers=ada), field))
    cheap = {"items": [{"product_id": "42", "quantity": 1, "unit_price": "0.01"}]}
    refused.append((await shop.http.post("/v1/orders", json=cheap, headers=ada), "items[0].unit_price"))
    for response, field in refused:
        assert response.status_code == 422
        assert [each["field"] for each in response.json()["errors"]] == [field]
    account = (await shop.http.get("/v1/users/me", headers=ada)).json()
    assert account.keys() == {"id", "name", "email", "role"}
    assert account["role"] == "customer"


async def test_functions(shop: Shop) -> None:
    """API5: what is an admin's to do neither customer can, whichever method they try, and an admin can."""
    draft = {"name": "Free lunch", "category": "books", "price": "1.00", "currency": "EUR"}
    tries: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/products", {"json": draft}),
        ("PUT", "/v1/products/42", {"json": draft}),
        ("PATCH", "/v1/products/42", {"json": {"price": "0.01"}}),
        ("DELETE", "/v1/products/42", {}),
        ("POST", "/v1/files?public=true", {"content": b"defaced"}),
    ]
    before = (await shop.http.get("/v1/products/42")).json()
    for who in (ADA, BOB):
        for method, path, body in tries:
            response = await shop.http.request(method, path, headers=await shop.bearer(*who), **body)
            assert (response.status_code, response.json()["code"]) == (403, "FORBIDDEN"), path
    assert (await shop.http.get("/v1/products/42")).json() == before
    admin = await shop.bearer("admin@shop.test", "admin")
    statuses = [
        (await shop.http.request(method, path, headers=admin, **body)).status_code for method, path, body in tries
    ]
    assert statuses == [201, 200, 200, 204, 201]


async def _asked(shop: Shop, who: tuple[str, str], query: str) -> Any:
    return (await shop.http.post("/graphql", json={"query": query}, headers=await shop.bearer(*who))).json()

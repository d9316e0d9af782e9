from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.fakes import Shop

ADA = {"name": "Ada", "email": "Ada@Example.com", "password": "correct horse"}


async def test_token(shop: Shop) -> None:
    """The right password gets a bearer token that no cache keeps."""
    response = await shop.client.post("/v1/auth/token", data={"username": "demo@shop.test", "password": "demo"})
    assert response.status_code == 200
    assert sorted(response.json()) == ["access_token", "expires_in", "token_type"]
    assert response.json()["token_type"] == "Bearer"
    assert response.headers["cache-control"] == "no-store"


async def test_token_as_oauth2_clients_ask(shop: Shop) -> None:
    """The fields that OAuth 2 clients add to the password grant are no error."""
    form = {"grant_type": "password", "username": "demo@shop.test", "password": "demo", "scope": "", "client_id": "x"}
    assert (await shop.client.post("/v1/auth/token", data=form)).status_code == 200


async def test_wrong_password(shop: Shop) -> None:
    """A wrong password is a 401 problem that says how to authenticate."""
    response = await shop.client.post("/v1/auth/token", data={"username": "demo@shop.test", "password": "x"})
    assert (response.status_code, response.json()["code"]) == (401, "WRONG_CREDENTIALS")
    assert response.headers["www-authenticate"].startswith("Bearer")


async def test_old_token_does_not_hinder_a_new_one(shop: Shop) -> None:
    """A client that sends an expired token can still sign in."""
    response = await shop.client.post(
        "/v1/auth/token",
        data={"username": "demo@shop.test", "password": "demo"},
        headers={"authorization": "Bearer old"},
    )
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("form", "fields"),
    [({}, ["username", "password"]), ({"username": "a"}, ["password"])],
)
async def test_incomplete_sign_in(shop: Shop, form: dict[str, str], fields: list[str]) -> None:
    """What is missing from a sign-in is named."""
    response = await shop.client.post("/v1/auth/token", data=form)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == fields


async def test_register(shop: Shop) -> None:
    """A new customer is a 201 that says where they are, without their password, and can sign in."""
    response = await shop.client.post("/v1/users", json=ADA)
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/users/{response.json()['id']}"
    assert sorted(response.json()) == ["email", "id", "name", "role"]
    assert response.json()["role"] == "customer"
    assert await shop.token("ada@example.com", "correct horse")


async def test_taken_email(shop: Shop) -> None:
    """A taken email is a 409."""
    response = await shop.client.post("/v1/users", json={**ADA, "email": "demo@shop.test"})
    assert (response.status_code, response.json()["code"]) == (409, "EMAIL_TAKEN")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": "admin"}, "role"),
        ({"email": "x"}, "email"),
        ({"password": "short"}, "password"),
        ({"name": 1}, "name"),
    ],
)
async def test_bad_registration(shop: Shop, change: dict[str, Any], field: str) -> None:
    """A registration with a wrong value, or with a field that is not the client's to set, is a 422 that names it."""
    response = await shop.client.post("/v1/users", json={**ADA, **change})
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == [field]


async def test_me(shop: Shop) -> None:
    """A user reads their own account."""
    response = await shop.client.get("/v1/users/me", headers=await shop.signed_in())
    assert response.json() == {"id": "123", "name": "Demo Customer", "email": "demo@shop.test", "role": "customer"}


async def test_another_user(shop: Shop) -> None:
    """Another's account is a 404 for a customer, as if it were not there, and readable for an admin."""
    assert (await shop.client.get("/v1/users/456", headers=await shop.signed_in())).status_code == 404
    assert (await shop.client.get("/v1/users/456", headers=await shop.admin())).json()["id"] == "456"


async def test_several_users(shop: Shop) -> None:
    """Of several accounts each caller gets those that they may see."""
    for headers, seen in ((await shop.signed_in(), ["123"]), (await shop.admin(), ["456", "123"])):
        response = await shop.client.get("/v1/users?ids=456,123,4711", headers=headers)
        assert [item["id"] for item in response.json()["items"]] == seen


@pytest.mark.parametrize("path", ["/v1/users/me", "/v1/users/123", "/v1/users?ids=123"])
async def test_anonymous(shop: Shop, path: str) -> None:
    """Accounts are for those who are signed in."""
    assert (await shop.client.get(path)).status_code == 401

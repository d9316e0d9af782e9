"""Signing in and registering: what is limited by address and by account, and what happens when a client leaves."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop
from tests.waiting import eventually

PROXIED = {"trusted_proxies": "127.0.0.0/8", "sign_in_failure_limit": "3/minute"}


async def sign_in(shop: Shop, username: str, password: str, address: int) -> int:
    form = {"username": username, "password": password}
    headers = {"x-forwarded-for": f"203.0.113.{address}"}
    response = await shop.client.post("/v1/auth/token", data=form, headers=headers)
    if response.status_code == 429:
        assert response.json()["code"] == "RATE_LIMITED"
        assert 1 <= int(response.headers["retry-after"]) <= 60
    return response.status_code


@pytest.mark.parametrize("username", ["demo@shop.test", "unknown@shop.test", "no address"])
async def test_failures_of_an_account(start_shop: StartShop, username: str) -> None:
    """Guesses at one account are limited wherever they come from, and an account that does not exist looks the same."""
    async with start_shop(**PROXIED) as shop:
        statuses = [await sign_in(shop, username, "guess", address) for address in range(4)]
        assert statuses == [401, 401, 401, 429]
        # The right password does not help any more, or it would be found out by its other answer.
        assert await sign_in(shop, username, "demo", 9) == 429
        assert await sign_in(shop, "admin@shop.test", "admin", 9) == 200


async def test_forms_of_an_account(start_shop: StartShop) -> None:
    """An account is one account however its address is written."""
    async with start_shop(**PROXIED) as shop:
        forms = [
            "ren\u00e9@m\u00fcller.test",
            "RENE\u0301@M\u00dcLLER.TEST",
            " ren\u00e9@xn--mller-kva.test",
            "ren\u00e9@mu\u0308ller.test",
        ]
        statuses = [await sign_in(shop, form, "guess", address) for address, form in enumerate(forms)]
    assert statuses == [401, 401, 401, 429]


async def test_success_does_not_count(start_shop: StartShop) -> None:
    """Only failures count against an account, however often its owner signs in."""
    async with start_shop(**PROXIED) as shop:
        assert [await sign_in(shop, "demo@shop.test", "demo", each) for each in range(6)] == [200] * 6


async def test_sign_ins_and_registrations_of_an_address(shop: Shop) -> None:
    """By default, an address has 20 attempts a minute at signing in and registering together."""
    statuses = []
    for each in range(11):
        form = {"username": f"unknown{each}@shop.test", "password": "guess"}
        statuses.append((await shop.client.post("/v1/auth/token", data=form)).status_code)
        user = {"name": "Ada", "email": f"ada{each}@shop.test", "password": "long enough"}
        statuses.append((await shop.client.post("/v1/users", json=user)).status_code)
    assert statuses == [401, 201] * 10 + [429, 429]
    assert (await shop.client.get("/v1/products/42")).status_code == 200


class Waiting:
    """A fake of the passwords: hashing never ends, and it is known whether it was given up."""

    def __init__(self) -> None:
        self.begun = 0
        self.given_up = 0

    async def hash(self, password: str) -> str:
        self.begun += 1
        try:
            return await asyncio.Future()
        except asyncio.CancelledError:
            self.given_up += 1
            raise

    async def matches(self, password: str, password_hash: str | None) -> bool:
        await self.hash(password)
        return False


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        ("/v1/auth/token", "application/x-www-form-urlencoded", "username=demo%40shop.test&password=demo"),
        (
            "/v1/users",
            "application/json",
            json.dumps({"name": "Ada", "email": "ada@shop.test", "password": "long enough"}),
        ),
    ],
)
async def test_client_that_leaves(start_shop: StartShop, path: str, content_type: str, body: str) -> None:
    """A request that its client no longer waits for is given up, down to the hashing of its password."""
    passwords = Waiting()
    async with start_shop(passwords=passwords, request_budget=60.0) as shop:
        _, writer = await asyncio.open_connection("127.0.0.1", shop.client.base_url.port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: shop\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write((head + body).encode())
        await eventually(lambda: passwords.begun == 1)
        writer.close()
        await eventually(lambda: passwords.given_up == 1)


@pytest.mark.usefixtures("breakers_stay_open")
async def test_flood_opens_no_other_breaker(start_shop: StartShop) -> None:
    """While signing in takes longer than any client waits, signed-in callers can still read accounts."""
    passwords = Waiting()
    secrets = {"mailer": "s3cret"}
    async with start_shop(passwords=passwords, service_secrets=secrets, request_budget=2.0) as shop:
        token = await shop.service_token("mailer", "s3cret")
        form = {"username": "demo@shop.test", "password": "demo"}
        headers = {"authorization": f"Bearer {token}"}

        async def read() -> bool:
            return (await shop.client.get("/v1/users?ids=123", headers=headers)).status_code == 200

        await eventually(read)  # the first time, it connects

        async def code() -> str:
            return str((await shop.client.post("/v1/auth/token", data=form)).json()["code"])

        assert set(await asyncio.gather(*(code() for _ in range(8)))) == {"DEADLINE_EXCEEDED"}
        assert await code() == "UPSTREAM_UNAVAILABLE"
        assert await read()

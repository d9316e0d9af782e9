from __future__ import annotations

import asyncio

import jwt
import pytest

from chassis.auth.identity import TokenVerifier
from chassis.http.middleware import Message, Receive, Scope, Send
from gateway.middleware.internal_calls import InternalCalls, is_counted, seconds_left
from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop

SECRET = "graphql's own"


@pytest.fixture
def with_secret(start_shop: StartShop) -> StartShop:
    def start(**settings: object) -> object:
        return start_shop(service_secrets={"graphql_server": SECRET, "webhooks": "x"}, **settings)

    return start  # type: ignore[return-value]


async def service_headers(shop: Shop, name: str = "graphql_server", secret: str = SECRET) -> dict[str, str]:
    token = await shop.service_token(name, secret)
    assert jwt.decode(token, options={"verify_signature": False})["role"] == "service"
    return {"x-shop-service": f"Bearer {token}"}


async def test_not_counted_again(with_secret: StartShop) -> None:
    """A call of graphql_server for a user counts neither against the user nor against the process's address."""
    async with with_secret(user_rate_limit="2/minute", client_rate_limit="3/minute") as shop:
        user = await shop.signed_in()
        headers = {**user, **await service_headers(shop)}
        for _ in range(10):
            response = await shop.client.get("/v1/users/me", headers=headers)
            assert response.status_code == 200
            assert "ratelimit" not in response.headers
        statuses = [(await shop.client.get("/v1/users/me", headers=user)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


async def test_a_call_for_a_socket_counts_as_its_clients(with_secret: StartShop) -> None:
    """A call that graphql_server makes for a WebSocket is counted against that socket's client, and no other's."""
    async with with_secret(client_rate_limit="5/minute") as shop:
        ours = await service_headers(shop)

        async def statuses(client: str, calls: int) -> list[int]:
            headers = {**ours, "x-shop-client": client}
            return [(await shop.client.get("/v1/products/42", headers=headers)).status_code for _ in range(calls)]

        assert await statuses("192.0.2.7", 6) == [200] * 5 + [429]
        assert await statuses("192.0.2.8", 1) == [200]
        assert (await shop.client.get("/v1/products/42")).status_code == 200
        # Without the token the name makes no difference.
        forged = await shop.client.get("/v1/products/42", headers={"x-shop-client": "192.0.2.8"})
        assert '"client";r=3' in forged.headers["ratelimit"]


async def test_others_count(with_secret: StartShop) -> None:
    """No other token gets around the limits: no user's token, no other process's, none that is made up."""
    async with with_secret(client_rate_limit="3/minute") as shop:
        user = await shop.signed_in()
        own = user["authorization"]
        others = [own, (await service_headers(shop, "webhooks", "x"))["x-shop-service"], "Bearer x", "graphql_server"]
        for claim in others:
            response = await shop.client.get("/v1/products/42", headers={"x-shop-service": claim})
            assert "ratelimit" in response.headers


async def test_a_verification_that_takes_too_long_makes_no_call_ours() -> None:
    """While the keys cannot be fetched, a request with this header goes on as any client's, within its time."""
    never = asyncio.Event()

    async def fetch() -> str:
        await never.wait()
        return ""

    reached: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        reached.append(is_counted(scope))

    header = (b"x-shop-service", f"Bearer {jwt.encode({}, 'x' * 32, headers={'kid': 'x'})}".encode())
    async with asyncio.timeout(20):
        await InternalCalls(app, TokenVerifier(fetch), timeout=0.05)({"headers": [header]}, receiving, sending)
    assert reached == [False]


async def receiving() -> Message:
    raise AssertionError("nothing is read")


async def sending(_: Message) -> None:
    raise AssertionError("nothing is sent")


async def test_still_the_user(with_secret: StartShop) -> None:
    """The service's token permits nothing that the user may not do, and gives no identity."""
    async with with_secret() as shop:
        headers = await service_headers(shop)
        assert (await shop.client.get("/v1/users/me", headers=headers)).status_code == 401
        forbidden = await shop.client.delete("/v1/products/42", headers={**headers, **await shop.signed_in()})
        assert forbidden.status_code == 403


async def test_budget_is_what_is_left(with_secret: StartShop) -> None:
    """What is left of the query's time is all that its calls have; more than the usual budget it never gets."""
    async with with_secret(request_budget=30.0, call_timeout=300.0) as shop:
        headers = await service_headers(shop)
        for said, most in (("10000", 10.0), ("60000", 30.0), ("-5", 30.0), ("x", 30.0)):
            await shop.client.get("/v1/products/42", headers={**headers, "x-timeout-ms": said})
            left = shop.catalog.behaviour.seconds_left[-1]
            assert left is not None
            assert most / 2 < left <= most * 1.05  # gRPC rounds it up


async def test_no_time_left(with_secret: StartShop) -> None:
    """A call whose query has no time left is not made."""
    async with with_secret() as shop:
        headers = {**await service_headers(shop), "x-timeout-ms": "0"}
        response = await shop.client.get("/v1/products/42", headers=headers)
        assert (response.status_code, response.json()["code"]) == (504, "DEADLINE_EXCEEDED")
        assert not shop.catalog.behaviour.requests


def test_others_have_no_say() -> None:
    """A client cannot set its own deadline: with hardly any time it would make an upstream look slow."""
    assert seconds_left({"headers": [(b"x-timeout-ms", b"1")]}) is None

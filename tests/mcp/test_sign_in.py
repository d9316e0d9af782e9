"""An agent's program has its user sign in: the official SDK's OAuth client, through the whole flow."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from chassis.auth.identity import Principal
from mcp_server.token_exchange import TokenExchange
from tests.consent import allow
from tests.shop import Shop

pytestmark = pytest.mark.asyncio(loop_scope="module")
METADATA = {"redirect_uris": ["http://127.0.0.1:33418/callback"], "client_name": "An agent"}


class Kept:
    """What the SDK's client keeps between its runs."""

    def __init__(self) -> None:
        self.client: OAuthClientInformationFull | None = None
        self.tokens: OAuthToken | None = None

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens


@asynccontextmanager
async def signing_in(
    shop: Shop, kept: Kept, email: str = "demo@shop.test", password: str = "demo"
) -> AsyncIterator[Client]:
    """The SDK's client without a token; the user signs in and allows when it opens the browser."""
    url = f"{shop.address('SHOP_GATEWAY_URL')}/mcp"
    told: dict[str, str] = {}

    async def browse(address: str) -> None:
        told.update(await allow(shop.http, address, email, password))

    async def called_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult(code=told["code"], state=told["state"], iss=told["iss"])

    provider = OAuthClientProvider(url, OAuthClientMetadata.model_validate(METADATA), kept, browse, called_back)
    async with (
        httpx2.AsyncClient(auth=provider, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def test_the_official_sdk_signs_its_user_in(shop: Shop) -> None:
    """From the first 401 to an order: found, registered, signed in, and acting for the user who allowed it."""
    kept = Kept()
    async with signing_in(shop, kept) as client:
        call = {
            "items": [{"product_id": "42", "quantity": 1}],
            "idempotency_key": uuid.uuid4().hex,
            "confirm": True,
        }
        placed: Any = (await client.call_tool("place_order", call)).structured_content
        wanted = [f"order://{placed['id']}"]
        async with asyncio.timeout(30), client.listen(resource_subscriptions=wanted) as news:
            assert news.honored.resource_subscriptions == wanted
    assert kept.client is not None
    assert kept.client.client_secret is None
    mine = await shop.http.get(f"/v1/orders/{placed['id']}", headers=await shop.bearer())
    assert mine.status_code == 200


async def test_an_administrators_agent_is_one(shop: Shop) -> None:
    """The role is that of the user who signed in, and no other user's."""
    wanted = ["product://42"]  # which the notifier shows to administrators
    for account, honored in ((("admin@shop.test", "admin"), wanted), (("demo@shop.test", "demo"), None)):
        async with (
            signing_in(shop, Kept(), *account) as client,
            asyncio.timeout(30),
            client.listen(resource_subscriptions=wanted) as news,
        ):
            assert (news.honored.resource_subscriptions or None) == honored


async def test_an_agents_token_opens_mcp_alone(shop: Shop) -> None:
    """REST, GraphQL, files and the notifier refuse it; mcp_server takes it from the gateway, and directly."""
    kept = Kept()
    async with signing_in(shop, kept) as client:
        await client.list_tools()
    assert kept.tokens is not None
    bearer = {"Authorization": f"Bearer {kept.tokens.access_token}"}
    for method, path in (("GET", "/v1/orders"), ("POST", "/graphql"), ("POST", "/v1/files")):
        refused = await shop.http.request(method, path, headers=bearer)
        assert (refused.status_code, refused.json()["code"]) == (401, "INVALID_TOKEN"), path
    async with httpx.AsyncClient(base_url=shop.address("SHOP_NOTIFIER_URL"), timeout=60) as notifier:
        assert (await notifier.get("/notifications/stream?topics=order.*", headers=bearer)).status_code == 401


async def test_a_token_is_exchanged_once_until_it_expires() -> None:
    """Calls with one agent's token share an exchange; another's has its own, and an old one is exchanged anew."""
    asked: list[str] = []
    now = 0.0

    async def exchange(token: str) -> tuple[str, float]:
        asked.append(token)
        return f"{token}-{len(asked)}", 60.0

    tokens = TokenExchange(exchange, clock=lambda: now)
    ada, bob = (Principal(name, "customer", name, audience="shop/mcp") for name in ("ada", "bob"))
    assert [await tokens.token_for(each) for each in (ada, ada, bob)] == ["ada-1", "ada-1", "bob-2"]
    assert await tokens.token_for(Principal("cleo", "customer", "cleo")) == "cleo"
    now = 56.0
    assert await tokens.token_for(ada) == "ada-3"
    assert asked == ["ada", "bob", "ada"]

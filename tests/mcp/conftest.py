"""A whole shop, and the official SDK's client at its gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.shop import Shop, shop_in_one_loop

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture
def connect(shop: Shop) -> Connect:
    """The SDK's client, signed in; what it is given more goes to its constructor."""

    @asynccontextmanager
    async def connected(email: str = "demo@shop.test", password: str = "demo", **more: Any) -> AsyncIterator[Client]:
        url = f"{shop.address('SHOP_GATEWAY_URL')}/mcp"
        async with (
            httpx2.AsyncClient(headers=await shop.bearer(email, password), timeout=30) as http,
            Client(streamable_http_client(url, http_client=http), **more) as client,
        ):
            yield client

    return connected

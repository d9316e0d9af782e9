"""News of orders for an agent, in a shop whose orders wait for their payment until the test pays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.mcp.conftest import Connect
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """In place of the package's: here a payment is collected by hand."""
    async with shop_in_one_loop(tmp_path_factory.mktemp("shop"), {"SHOP_PAYMENT_DELAY": "3600"}) as shop:
        yield shop


async def unpaid_order(shop: Shop) -> tuple[str, str]:
    """An order that waits for its payment, and the URL of that at the provider."""
    order_id = (await shop.place(("42", 1))).json()["id"]
    payments = f"{shop.address('SHOP_PAYMENT_URL')}/v1/payment_intents"

    async def requested() -> list[Any]:
        found: list[Any] = (await shop.http.get(payments, params={"order_id": order_id})).json()["data"]
        return found if await shop.status(order_id) == "confirmed" else []

    (payment,) = await eventually(requested)
    return order_id, f"{payments}/{payment['id']}"


async def ships(shop: Shop, order_id: str, payment: str) -> None:
    """Pay, and wait until the order is on its way."""
    (await shop.http.post(f"{payment}/pay")).raise_for_status()

    async def shipped() -> bool:
        return await shop.status(order_id) == "shipped"

    await eventually(shipped)


async def test_a_listener_gets_news_of_its_own_orders(shop: Shop, connect: Connect) -> None:
    """A subscription to an order sends its changes, and none of another order of the same user."""
    watched, payment = await unpaid_order(shop)
    other, others_payment = await unpaid_order(shop)
    wanted = [f"order://{watched}"]
    async with connect() as client, asyncio.timeout(120), client.listen(resource_subscriptions=wanted) as news:
        await ships(shop, other, others_payment)
        await ships(shop, watched, payment)
        first: Any = await anext(aiter(news))
    assert first.uri == f"order://{watched}"

"""`shop trace`: an order's hops in a terminal."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shop.commands.orders.trace import trace
from shop.errors import Refused
from tests.shop import Shop, shop_in_one_loop
from tests.waiting import eventually


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_in_one_loop(tmp_path) as running:
        yield running


async def traced(shop: Shop, order: str) -> tuple[bool, list[str]]:
    out = io.StringIO()
    fine = await asyncio.to_thread(trace, order, shop.around.shared, out)
    return fine, out.getvalue().splitlines()


async def test_an_order_is_followed_to_its_end(shop: Shop) -> None:
    """While the order runs, its hops are printed in at most 80 columns, each once, and all went well."""
    order = (await shop.place(("42", 1))).json()

    async def shipped() -> bool:
        url = f"{shop.address('SHOP_CONSOLE_URL')}/api/orders/{order['id']}/xray"
        return (await shop.http.get(url)).status_code == 200 and await shop.status(order["id"]) == "shipped"

    await eventually(shipped, within=30)
    fine, lines = await traced(shop, order["id"])
    assert fine
    assert max(map(len, lines)) <= 80
    for protocol in ("REST", "gRPC", "queue", "SOAP", "HTTP", "webhook", "SMTP"):
        assert any(f" {protocol} " in line for line in lines), protocol
    assert lines[-1] == "Every hop went well."


async def test_what_is_not_known_is_refused(shop: Shop) -> None:
    """An order that the console has no trace of is said to be unknown."""
    with pytest.raises(Refused, match="no trace of 'nothing'"):
        await traced(shop, "nothing")

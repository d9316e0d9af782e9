"""Stopping is not forgetting."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.real_shop import real_shop
from tests.waiting import eventually

pytestmark = pytest.mark.system


async def test_a_second_start_finds_the_first_ones_orders(tmp_path: Path) -> None:
    """An order placed and shipped before a stop is there after the next start, with its history; and so is its key."""
    async with real_shop(tmp_path) as shop:
        order = (await shop.place(("42", 1), key="the-key")).json()

        async def shipped() -> bool:
            return await shop.status(order["id"]) == "shipped"

        await eventually(shipped, within=60)
    async with real_shop(tmp_path) as shop:
        assert await shop.status(order["id"]) == "shipped"
        assert (await shop.place(("42", 1), key="the-key")).json() == order
        events = await shop.http.get(f"/v1/orders/{order['id']}/events", headers=await shop.bearer())
        assert len(events.json()["items"]) == 4


async def test_an_order_accepted_at_the_last_moment_goes_on_after_the_next_start(tmp_path: Path) -> None:
    """A shop that is stopped right after a 202 ships the order when it is started again."""
    async with real_shop(tmp_path) as shop:
        order_id = (await shop.place(("42", 1))).json()["id"]
    async with real_shop(tmp_path) as shop:

        async def shipped() -> bool:
            return await shop.status(order_id) == "shipped"

        await eventually(shipped, within=30)

"""`Idempotency-Key` at the edge, on the real services behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from tests.shop import Shop, shop_in_one_loop

KEY = "the-key"


async def orders(shop: Shop) -> set[str]:
    page = await shop.http.get("/v1/orders?limit=100", headers=await shop.bearer())
    return {order["id"] for order in page.json()["items"]}


async def told(shop: Shop) -> httpx.Response:
    """The answer to an order; a client without an answer tries again, which is what the key is for."""
    async with asyncio.timeout(60):
        while (answer := await shop.place(("42", 1), key=KEY)).status_code in (503, 504):
            pass
    return answer


async def test_fifty_at_once_and_once_more_after_a_restart(tmp_path: Path) -> None:
    """Fifty requests with one key at once are one order, in every answer; so is one after a restart."""
    async with shop_in_one_loop(tmp_path) as shop:
        await shop.token()
        before = await orders(shop)
        answers = await asyncio.gather(*(told(shop) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.headers["location"] for answer in answers}) == 1
        assert len(await orders(shop) - before) == 1
        placed = answers[0].json()["id"]
    async with shop_in_one_loop(tmp_path) as shop:
        again = await shop.place(("42", 1), key=KEY)
        assert (again.status_code, again.json()["id"]) == (202, placed)
        assert await orders(shop) - before == {placed}
        other = await shop.place(("42", 2), key=KEY)
        assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")

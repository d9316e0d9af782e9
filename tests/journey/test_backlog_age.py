"""An order is not promised where those before it have waited too long."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.shop import shop_in_one_loop
from tests.waiting import eventually

BASKET = ("42", 1)


async def test_a_backlog_that_is_too_old_refuses_the_next_order(tmp_path: Path) -> None:
    """While the oldest order waits for too long, placing answers 503 with Retry-After; a repeat is answered as ever."""
    async with shop_in_one_loop(tmp_path, {"SHOP_MAX_BACKLOG_AGE": "3"}, without=("order_worker",)) as shop:
        placed = await shop.place(BASKET, key="the-first")
        assert placed.status_code == 202, placed.text

        async def refused() -> httpx.Response | None:
            answer = await shop.place(BASKET)
            return answer if answer.status_code != 202 else None

        answer = await eventually(refused)
        assert (answer.status_code, answer.json()["code"]) == (503, "OVERLOADED"), answer.text
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        again = await shop.place(BASKET, key="the-first")
        assert (again.status_code, again.json()["id"]) == (202, placed.json()["id"])
        assert (await shop.http.get("/v1/products/42")).status_code == 200

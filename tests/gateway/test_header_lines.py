"""Header fields in several lines, and targets that look like another one, at the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.conftest import StartShop
from tests.gateway.fakes import Shop


@pytest.fixture
async def shop(start_shop: StartShop) -> AsyncIterator[Shop]:
    async with start_shop(edge_cache_bytes=1 << 20) as running:
        yield running


async def test_a_list_in_several_lines_is_one_list(shop: Shop) -> None:
    """RFC 9110, section 5.3: an entity tag in the first of two lines counts, and so does a directive."""
    first = await shop.client.get("/v1/products/42")
    lines = [("if-none-match", first.headers["etag"]), ("if-none-match", '"another"')]
    assert (await shop.client.get("/v1/products/42", headers=lines)).status_code == 304
    directives = [("cache-control", "no-cache"), ("cache-control", "max-age=60")]
    again = await shop.client.get("/v1/products/42", headers=directives)
    assert "fwd=request" in again.headers["cache-status"]


@pytest.mark.parametrize("name", ["Idempotency-Key", "Authorization", "Content-Type"])
async def test_a_field_of_one_value_comes_once(shop: Shop, name: str) -> None:
    """Two values are refused, with the name of the header to mend: neither of them is chosen."""
    response = await shop.client.post("/v1/orders", headers=[(name, "a"), (name, "b")], content=b"{}")
    assert (response.status_code, response.json()["code"]) == (400, "REPEATED_HEADER")
    assert name.lower() in response.json()["detail"]


async def test_an_encoded_question_mark_begins_no_query(shop: Shop) -> None:
    """`/v1/products/42%3Fx=1` is another resource than `/v1/products/42?x=1`, also where that is stored."""
    stored = await shop.client.get("/v1/products/42?x=1")
    assert stored.status_code == 200
    other = await shop.client.get("/v1/products/42%3Fx=1")
    assert other.status_code in (404, 422)

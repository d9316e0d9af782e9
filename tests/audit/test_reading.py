"""A payment provider whose lists do not go on is a book that cannot be read, not one without an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.audit.reading import Library, Settings, _Reader
from shop.audit.records import Traces
from shop.audit.spool import spooling

# Answers a page's rows and whether there is more, to the row behind which it begins.
List = Callable[[str], tuple[list[str], bool]]


def whole(after: str) -> tuple[list[str], bool]:
    """A list of five, two at a time."""
    ids = ["p1", "p2", "p3", "p4", "p5"]
    begin = ids.index(after) + 1 if after else 0
    return ids[begin : begin + 2], begin + 2 < len(ids)


ENDLESS: dict[str, List] = {
    "an unknown row is the begin": lambda _: (["p1", "p2"], True),
    "the last row again": lambda after: ([after or "p1"], True),
    "two pages in a circle": lambda after: (["p3", "p4"], True) if after == "p2" else (["p1", "p2"], True),
    "empty pages": lambda _: ([], True),
}


def provider(answers: List) -> httpx.AsyncClient:
    """Stub: a payment provider with these lists."""

    async def listed(request: Request) -> Response:
        ids, more = answers(request.query_params.get("starting_after", ""))
        return JSONResponse({"data": [row(each) for each in ids], "has_more": more})

    paths = ("/v1/payment_intents", "/v1/refunds", "/v1/events")
    app = Starlette(routes=[Route(path, listed) for path in paths])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://provider.test")


def row(row_id: str) -> dict[str, Any]:
    about = {"metadata": {"order_id": f"order of {row_id}"}}
    payment = {"status": "succeeded", "amount": 1, "amount_refunded": 0, "currency": "eur"}
    news = {"type": "payment_intent.succeeded", "attempts": 1, "data": {"object": about}}
    return {"id": row_id, "payment_intent": row_id, **about, **payment, **news}


async def read(answers: List) -> tuple[Library, Traces]:
    """What is read of a provider's lists, and what is known then of its first payment."""
    async with provider(answers) as http:
        settings = Settings(payment_url="http://provider.test")
        with spooling() as spool:
            reader = _Reader(settings, spool, {}, lambda peer: pytest.fail(f"asks {peer}"), http)
            async with asyncio.timeout(10):
                await reader.note("payments", reader.payments)
            spool.complete()
            return reader.library, dict(spool.strangers()).get("order of p1", Traces())


async def test_every_row_of_a_list_is_read_once() -> None:
    """A list is read page by page to its end."""
    library, traces = await read(whole)
    assert library.unread == {}
    assert (len(traces.payments), len(traces.refunds), len(traces.payment_events)) == (1, 1, 1)


@pytest.mark.parametrize("answers", ENDLESS.values(), ids=ENDLESS)
async def test_a_list_that_does_not_go_on_cannot_be_read(answers: List) -> None:
    """A page that ends where one has ended before, or that is empty although there is more, is refused, unread."""
    library, traces = await read(answers)
    assert "/v1/payment_intents does not go on" in library.unread["payments"]
    assert len(traces.payments) <= 1

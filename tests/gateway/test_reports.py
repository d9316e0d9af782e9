"""The sales report, for administrators only."""

from __future__ import annotations

from typing import Any

import pytest

from chassis.errors import invalid
from protos.shop.reports.v1 import reports_pb2
from tests.gateway.fakes import Shop

PATH = "/v1/reports/sales"


async def test_shape(shop: Shop) -> None:
    """An admin is given the report as JSON; money is a decimal beside its currency, times are in UTC."""
    query = {"by": "product", "from": "2026-01-01", "to": "2026-01-31", "limit": "7", "cursor": "bmV4dA"}
    answer = await shop.client.get(PATH, params=query, headers=await shop.admin())
    assert answer.status_code == 200
    assert answer.json() == {
        "by": "product",
        "from": "2026-01-01",
        "to": "2026-01-31",
        "since": "2026-01-05T12:00:00.250000Z",
        "as_of": "2026-01-05T12:00:00.250000Z",
        "gap_at": None,
        "unknown_orders": 0,
        "items": [
            {"key": "2026-01-05", "name": None, "currency": "EUR", "orders": 3, "quantity": 5, "revenue": "245.00"}
        ],
        "next_cursor": "bmV4dA",
    }
    (asked,) = shop.reports.behaviour.requests
    assert asked == reports_pb2.GetSalesRequest(
        first_day="2026-01-01",
        last_day="2026-01-31",
        by=reports_pb2.SALES_BY_PRODUCT,
        page_size=7,
        cursor="bmV4dA",
    )


async def test_only_admins_are_told(shop: Shop) -> None:
    """A customer is refused, and so is a caller without a token; reports is not even asked."""
    for headers, status in ((await shop.signed_in(), 403), ({}, 401)):
        refused = await shop.client.get(PATH, headers=headers)
        assert (refused.status_code, refused.headers["content-type"]) == (status, "application/problem+json")
    assert shop.reports.behaviour.requests == []


@pytest.mark.parametrize(
    "query", [{"by": "hour"}, {"from": "yesterday"}, {"to": ""}, {"limit": "0"}, {"limit": "101"}, {"cursor": "?"}]
)
async def test_what_is_wrong_is_named(shop: Shop, query: dict[str, Any]) -> None:
    """A parameter that cannot be is answered 422, with its name."""
    refused = await shop.client.get(PATH, params=query, headers=await shop.admin())
    assert refused.status_code == 422
    assert [each["field"] for each in refused.json()["errors"]] == list(query)


async def test_what_reports_rejects_has_the_parameters_names(shop: Shop) -> None:
    """A day that reports rejects by its own names is named as the query does, in the reason, too."""
    shop.reports.behaviour.failure = invalid("no report", first_day="must not be after `last_day`", cursor="is old")
    refused = await shop.client.get(PATH, headers=await shop.admin())
    assert refused.json()["errors"] == [
        {"field": "from", "detail": "must not be after `to`"},
        {"field": "cursor", "detail": "is old"},
    ]


async def test_an_unchanged_report_is_not_sent_again(shop: Shop) -> None:
    """A client that shows the tag of what it has is answered 304; no shared cache may keep it."""
    headers = await shop.admin()
    first = await shop.client.get(PATH, headers=headers)
    again = await shop.client.get(PATH, headers={**headers, "if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == "private, no-cache"

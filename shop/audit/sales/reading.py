"""Reads the sales report over its service's API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from chassis.grpc.client import Client
from protos.shop.reports.v1 import reports_pb2 as pb
from shop.audit.sales.comparison import KINDS, Amounts, Begin, Key, SalesReport, Sold, Window

_PAGE = 100
_MAX_WINDOW = timedelta(days=366)


async def read_sales(client: Client, stub: Any, sold: Sold) -> SalesReport:
    """The report's figures of the days that it has in full; `sold` has those of the orders, read before."""
    # First: what is read meanwhile is in the figures as well as in this count, and is taken for neither.
    progress = (await client.call(stub.GetProgress, pb.GetProgressRequest())).partitions
    begin, today = _begin(progress), datetime.now(UTC).date()
    since, unread = sold.compared_from(begin), sum(each.unread for each in progress)
    # All that the report can have, and not only days with an order: a sale that no order has may be on another one.
    days = [*sold.days, today, *([begin.first.date()] if begin.first else [])]
    windows = [await _window(client, stub, *each) for each in _windows(max(since, min(days)), max(days))]
    return SalesReport(unread, since, windows)


def _begin(progress: Any) -> Begin:
    firsts = [each.first_at.ToDatetime(UTC) for each in progress if each.HasField("first_at")]
    gaps = [each.gap_at.ToDatetime(UTC) for each in progress if each.HasField("gap_at")]
    return Begin(min(firsts, default=None), max([*firsts, *gaps], default=None), bool(gaps))


def _windows(first: date, last: date) -> Iterator[tuple[date, date]]:
    while first <= last:
        end = min(last, first + _MAX_WINDOW - timedelta(days=1))
        yield first, end
        first = end + timedelta(days=1)


async def _window(client: Client, stub: Any, first: date, last: date) -> Window:
    figures = {}
    for kind in KINDS:
        async for row in _rows(client, stub, kind, first, last):
            figures[Key(kind, row.key, row.currency)] = Amounts(row.orders, row.quantity, Decimal(row.revenue))
    return Window(first, last, figures)


async def _rows(client: Client, stub: Any, kind: str, first: date, last: date) -> AsyncIterator[pb.SalesRow]:
    wanted = pb.SalesBy.Value(f"SALES_BY_{kind.upper()}")
    request = pb.GetSalesRequest(first_day=first.isoformat(), last_day=last.isoformat(), by=wanted, page_size=_PAGE)
    while True:
        page = await client.call(stub.GetSales, request)
        for row in page.rows:
            yield row
        if not page.next_cursor:
            return
        request.cursor = page.next_cursor

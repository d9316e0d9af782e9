"""Comparison of the sales report with the paid orders. Pure decisions.

The report is made from the event log alone, and an order is a sale on the day (UTC) of its payment. What is still in
the log, what the log had lost before it was read, and what moves while the books are read is no difference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from shop.audit.comparison import PAID, PLACED
from shop.audit.findings import Finding, different, in_flight
from shop.audit.records import Order

DAY, PRODUCT, CUSTOMER = "day", "product", "customer"
KINDS = (DAY, PRODUCT, CUSTOMER)
_SUBJECTS = {DAY: "sales of {}", PRODUCT: "sales of product {}", CUSTOMER: "sales to customer {}"}
# Orders that were placed at nearly the same moment may be in the log in another order.
_NEARLY = timedelta(minutes=1)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Key(NamedTuple):
    """The key of a figure: a day (2026-03-01), a product's id or a customer's, and a currency."""

    kind: str
    name: str
    currency: str


class Amounts(NamedTuple):
    """Orders, pieces and revenue."""

    orders: int = 0
    quantity: int = 0
    revenue: Decimal = Decimal()

    def plus(self, other: Amounts) -> Amounts:
        return Amounts(self.orders + other.orders, self.quantity + other.quantity, self.revenue + other.revenue)


Figures = dict[Key, Amounts]


@dataclass(slots=True)
class _Day:
    figures: Figures = field(default_factory=dict)
    orders: int = 0
    # When the oldest of its orders was placed: what was ordered is in that event.
    placed_since: datetime = _NEVER


class Sold:
    """Figures of the orders, added up one by one, by the day of their payment."""

    def __init__(self) -> None:
        self._days: dict[date, _Day] = {}
        self._oldest: datetime | None = None
        self.moving = 0
        """Orders that may be paid at any moment, or whose events are on their way to the log."""

    def add(self, order: Order) -> None:
        """Count one order."""
        times = {event.type: event.time for event in order.history}
        placed, paid = times.get(PLACED, order.placed_at), times.get(PAID)
        self._oldest = placed if self._oldest is None else min(placed, self._oldest)
        self.moving += bool(order.unpublished or order.status in ("pending", "confirmed"))
        if paid is None:
            return
        day = self._days.setdefault(paid.astimezone(UTC).date(), _Day())
        day.orders += 1
        day.placed_since = min(placed, day.placed_since)
        _add(day.figures, _figures(order, paid.astimezone(UTC).date()))

    @property
    def days(self) -> Collection[date]:
        """The days with a paid order."""
        return self._days.keys()

    def compared_from(self, begin: Begin) -> date:
        """The first day whose sales a report can have in full."""
        if begin.first is None or self._oldest is None or begin.whole is None:
            return date.max
        if not begin.gap and self._oldest >= begin.first - _NEARLY:
            return date.min  # it has read the log since before the first order
        parts = [day for day, each in self._days.items() if each.placed_since < begin.whole]
        return max([*parts, begin.whole.astimezone(UTC).date()]) + timedelta(days=1)

    def between(self, first: date, last: date) -> Figures:
        """The figures of these days."""
        total: Figures = {}
        for day, each in self._days.items():
            if first <= day <= last:
                _add(total, each.figures)
        return total

    def orders_before(self, first: date) -> int:
        """Paid orders of earlier days."""
        return sum(each.orders for day, each in self._days.items() if day < first)


class Begin(NamedTuple):
    """The beginning of the log in the report.

    `first`: when the oldest event happened that was read of any partition. `whole`: when every partition had begun, and
    the last gap was behind. `gap`: whether there was one. Both times are None for a log of which nothing was read.
    """

    first: datetime | None
    whole: datetime | None
    gap: bool


@dataclass(frozen=True, slots=True)
class Window:
    """The report's figures of some days."""

    first: date
    last: date
    figures: Mapping[Key, Amounts]


@dataclass(frozen=True, slots=True)
class SalesReport:
    """Figures of the report, from `since` on; `unread` entries of the event log are not in it yet."""

    unread: int
    since: date
    windows: Sequence[Window]


def judge_sales(sold: Sold, report: SalesReport) -> Iterator[tuple[str, Finding]]:
    """Differences between the report and the orders, by the subject of the figure."""
    found = [difference for window in report.windows for difference in _differences(sold, window)]
    if not found:
        return
    if report.unread:
        yield "sales report", in_flight(f"{report.unread} entries of the event log are not yet read, and it is behind")
    elif sold.moving:
        yield "sales report", in_flight(f"{sold.moving} orders may be paid while it is read, and it differs")
    else:
        yield from found


def _differences(sold: Sold, window: Window) -> Iterator[tuple[str, Finding]]:
    expected = sold.between(window.first, window.last)
    for key in sorted(expected.keys() | window.figures.keys()):
        sales, due = window.figures.get(key, Amounts()), expected.get(key, Amounts())
        if sales != due:
            days = "" if key.kind == DAY else f"from {window.first} to {window.last} "
            what = f"{days}the sales report has {_words(sales, key.currency)}, the orders {_words(due, key.currency)}"
            yield _SUBJECTS[key.kind].format(key.name), different(what)


def _words(amounts: Amounts, currency: str) -> str:
    orders = "1 order" if amounts.orders == 1 else f"{amounts.orders} orders"
    return f"{orders} of {amounts.quantity} pieces for {amounts.revenue:f} {currency}"


def _figures(order: Order, day: date) -> Figures:
    """The figures of one paid order; it counts once for a product, however many of its lines have it."""
    whole = Amounts(
        1,
        sum(item.quantity for item in order.items),
        sum((item.quantity * item.unit_price for item in order.items), Decimal()),
    )
    found = {
        Key(DAY, day.isoformat(), order.currency): whole,
        Key(CUSTOMER, order.user_id, order.currency): whole,
    }
    for item in order.items:
        key = Key(PRODUCT, item.product_id, order.currency)
        found[key] = found.get(key, Amounts(1)).plus(Amounts(0, item.quantity, item.quantity * item.unit_price))
    return found


def _add(total: Figures, more: Mapping[Key, Amounts]) -> None:
    for key, amounts in more.items():
        total[key] = total[key].plus(amounts) if key in total else amounts

"""Sales and the figures that they add up to. Pure decisions.

An order is sold on the day (UTC) on which it is paid. Nothing is ever taken back: an order that is rejected or
cancelled was not paid before, and money that comes for it afterwards is given back (`order.refund_due`), so that it
never was a sale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum

from chassis.errors import invalid

MAX_DAYS = 366
DEFAULT_DAYS = 30


class By(StrEnum):
    """The grouping of sales. `UNKNOWN` counts the paid orders whose items the log no longer has."""

    DAY = "day"
    PRODUCT = "product"
    CUSTOMER = "customer"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an order; `amount` is what all its pieces cost, in the currency's minor units."""

    product_id: str
    name: str
    quantity: int
    amount: int


@dataclass(frozen=True, slots=True)
class Placed:
    """An order, with its items."""

    order_id: str
    user_id: str
    currency: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Paid:
    """An order was paid."""

    order_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """An order was rejected or cancelled."""

    order_id: str


Fact = Placed | Paid | Ended


@dataclass(frozen=True, slots=True)
class Sale:
    """An order that was paid; `order` is None when the log does not have its items."""

    at: datetime
    order: Placed | None

    @property
    def day(self) -> date:
        return self.at.astimezone(UTC).date()


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """The key of a figure: a day, a currency, and by `by`: all sales, those of a product, or to a customer."""

    by: By
    day: date
    key: str
    currency: str


@dataclass(frozen=True, slots=True)
class Amounts:
    """Orders, pieces, and revenue in minor units; `name` is what a product was called."""

    orders: int
    quantity: int
    revenue: int
    name: str = ""

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.orders + other.orders,
            self.quantity + other.quantity,
            self.revenue + other.revenue,
            other.name or self.name,
        )

    def __neg__(self) -> Amounts:
        return Amounts(-self.orders, -self.quantity, -self.revenue, self.name)


Figures = dict[Key, Amounts]


def figures_of(sale: Sale) -> Figures:
    """The figures of one sale."""
    order, day = sale.order, sale.day
    if order is None:
        return {Key(By.UNKNOWN, day, "", ""): Amounts(1, 0, 0)}
    quantity, revenue = sum(line.quantity for line in order.lines), sum(line.amount for line in order.lines)
    found = {
        Key(By.DAY, day, "", order.currency): Amounts(1, quantity, revenue),
        Key(By.CUSTOMER, day, order.user_id, order.currency): Amounts(1, quantity, revenue),
    }
    for line in order.lines:
        key = Key(By.PRODUCT, day, line.product_id, order.currency)
        # An order counts once for a product, however many of its lines have it.
        earlier = found.get(key, Amounts(1, 0, 0))
        found[key] = earlier + Amounts(0, line.quantity, line.amount, line.name)
    return found


def added(parts: Iterable[Figures]) -> Figures:
    """The sum of figures, in an order that is the same for all writers."""
    total: Figures = {}
    for part in parts:
        for key, amounts in part.items():
            total[key] = total[key] + amounts if key in total else amounts
    return dict(sorted(total.items()))


def learned(sale: Sale) -> Figures:
    """The changes when an order's items arrive after its payment."""
    unknown = {key: -amounts for key, amounts in figures_of(Sale(sale.at, None)).items()}
    return added([unknown, figures_of(sale)])


def period(first: str, last: str, today: date) -> tuple[date, date]:
    """The days that a report is about. Raises INVALID_INPUT, naming what is wrong."""
    until = _day("last_day", last) if last else today
    earliest = date.fromordinal(max(date.min.toordinal(), until.toordinal() - DEFAULT_DAYS + 1))
    since = _day("first_day", first) if first else earliest
    if since > until:
        raise invalid("the report's days are out of order", first_day="must not be after `last_day`")
    if (until - since).days >= MAX_DAYS:
        raise invalid("the report has too many days", first_day=f"must be less than {MAX_DAYS} days before `last_day`")
    return since, until


def is_day(text: str) -> bool:
    """Whether a text is a day such as 2026-01-31; `date.fromisoformat` takes other forms, too."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _day(field: str, text: str) -> date:
    if not is_day(text):
        raise invalid("invalid day", **{field: "must be a day such as 2026-01-31"})
    return date.fromisoformat(text)

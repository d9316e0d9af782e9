"""The sales report against the orders: what is a difference, and what is not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from shop.audit.findings import Finding, State
from shop.audit.records import Item, Order, PastEvent
from shop.audit.sales.comparison import Amounts, Begin, Key, SalesReport, Sold, Window, judge_sales

MARCH = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(days=7)


def order(
    number: int, paid: datetime | None = MARCH, *, placed: datetime = MARCH, lines: Sequence[tuple[str, int, str]] = ()
) -> Order:
    """An order of customer 123, of one piece for 5.00 unless lines are named."""
    items = [Item(product, quantity, Decimal(price)) for product, quantity, price in lines or [("42", 1, "5.00")]]
    times = [("order.placed", placed), *([("order.paid", paid)] if paid else [])]
    history = [PastEvent(f"{number}-{at}", kind, at, time, {}) for at, (kind, time) in enumerate(times, 1)]
    total = sum((item.quantity * item.unit_price for item in items), Decimal())
    status = "paid" if paid else "confirmed"
    return Order(str(number), "123", status, "", items, total, "EUR", placed, "", history, 0)


def sold(*orders: Order) -> Sold:
    found = Sold()
    for each in orders:
        found.add(each)
    return found


def report(of: Sold, *, unread: int = 0, changed: dict[Key, Amounts] | None = None) -> SalesReport:
    """What reports would say of these orders, in one window, but for what is changed."""
    first, last = date(2026, 1, 1), date(2026, 12, 31)
    figures = {**of.between(first, last), **(changed or {})}
    return SalesReport(unread, date.min, [Window(first, last, figures)])


def judged(of: Sold, told: SalesReport) -> list[tuple[str, Finding]]:
    return list(judge_sales(of, told))


CUSTOMER = Key("customer", "123", "EUR")


def test_equal_figures_are_no_finding() -> None:
    """A report that says what the orders come to is settled, also while entries are unread and orders move."""
    orders = sold(order(1), order(2, None))
    assert judged(orders, report(orders, unread=3)) == []


def test_an_order_counts_once_for_a_product() -> None:
    """Two lines of a product are one order of it, with the pieces and the revenue of both."""
    figures = sold(order(1, lines=[("42", 1, "5.00"), ("42", 2, "4.00")])).between(date.min, date.max)
    assert figures[Key("product", "42", "EUR")] == Amounts(1, 3, Decimal("13.00"))
    assert figures[Key("day", "2026-03-01", "EUR")] == Amounts(1, 3, Decimal("13.00"))


def test_an_altered_figure_is_named() -> None:
    """What the figure is about, what the report says of it, and what the orders come to."""
    orders = sold(order(1), order(2))
    ((subject, finding),) = judged(orders, report(orders, changed={CUSTOMER: Amounts(3, 2, Decimal("10.00"))}))
    assert (subject, finding.state) == ("sales to customer 123", State.DIFFERENT)
    assert "has 3 orders of 2 pieces for 10.00 EUR, the orders 2 orders of 2 pieces for 10.00 EUR" in finding.what


def test_a_sale_without_an_order_is_named() -> None:
    """A figure about what no order has is a difference, too."""
    orders, nobody = sold(order(1)), Key("product", "7", "EUR")
    ((subject, finding),) = judged(orders, report(orders, changed={nobody: Amounts(1, 1, Decimal(3))}))
    assert (subject, finding.state) == ("sales of product 7", State.DIFFERENT)


def test_what_is_not_yet_read_is_in_flight() -> None:
    """A report that is behind the log differs from the orders by what it has not read."""
    orders = sold(order(1))
    ((subject, finding),) = judged(orders, report(orders, unread=2, changed={CUSTOMER: Amounts()}))
    assert (subject, finding.state) == ("sales report", State.IN_FLIGHT)
    assert "2 entries of the event log are not yet read" in finding.what


def test_orders_that_may_be_paid_are_in_flight() -> None:
    """An order that is confirmed may be paid, and counted, after the orders were read."""
    orders = sold(order(1), order(2, None))
    ((_, finding),) = judged(orders, report(orders, changed={CUSTOMER: Amounts(2, 2, Decimal("10.00"))}))
    assert finding.state == State.IN_FLIGHT


def test_a_log_that_was_read_from_the_first_order_on_is_compared_from_the_beginning() -> None:
    """Whatever the partitions began with: there was nothing before."""
    orders = sold(order(1), order(2, MARCH + WEEK, placed=MARCH + DAY))
    assert orders.compared_from(Begin(MARCH - DAY, MARCH + DAY, gap=False)) == date.min


def test_days_of_which_the_log_has_lost_events_are_not_compared() -> None:
    """Comparing begins on the day after: all partitions had begun, and every order was placed after that."""
    orders = sold(order(1), order(2, MARCH + 4 * DAY, placed=MARCH), order(3, MARCH + WEEK, placed=MARCH + 6 * DAY))
    assert orders.compared_from(Begin(MARCH + DAY, MARCH + 2 * DAY, gap=False)) == date(2026, 3, 6)
    assert orders.compared_from(Begin(MARCH - DAY, MARCH + 6 * DAY, gap=True)) == date(2026, 3, 8)
    assert orders.orders_before(date(2026, 3, 8)) == 2


def test_of_a_log_of_which_nothing_was_read_nothing_is_compared() -> None:
    """No figure could be right or wrong."""
    assert sold(order(1)).compared_from(Begin(None, None, gap=False)) == date.max

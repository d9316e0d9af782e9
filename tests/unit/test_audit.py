"""The audit finds every kind of difference, and nothing where the books agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shop.audit import as_dict, audit
from shop.books import Books, Mail, OrderBook, Payment, Reservation, SalesOrder, Stock

LIFE = ["order.placed", "order.confirmed", "order.paid", "order.shipped"]


def history(*types: str) -> list[tuple[int, str]]:
    return list(enumerate(types, start=1))


SHIPPED = OrderBook("o1", "shipped", {"42": 2}, "pi_1", history(*LIFE), 0)
REJECTED = OrderBook("o2", "rejected", {"7": 9}, "", history("order.placed", "order.rejected"), 0)
CANCELLED = OrderBook(
    "o3", "cancelled", {"42": 1}, "pi_3", history("order.placed", "order.confirmed", "order.cancelled"), 0
)
PENDING = OrderBook("o4", "pending", {"42": 1}, "", history("order.placed"), 1)

RESERVATIONS = {
    "o1": Reservation("o1", "shipped", {"42": 2}),
    "o2": Reservation("o2", "released", {}),
    "o3": Reservation("o3", "released", {"42": 1}),
}
SALES_ORDERS = {"o1": SalesOrder("o1", "shipped", 1), "o3": SalesOrder("o3", "cancelled", 0)}
PAYMENTS = {"o1": Payment("o1", "pi_1", "succeeded"), "o3": Payment("o3", "pi_3", "canceled")}
MAILS = [Mail("o1", "confirmed"), Mail("o1", "shipped"), Mail("o2", "rejected"), Mail("o3", "confirmed")]
STOCK = {"42": Stock("42", 100, 98, 0, 2, 98), "7": Stock("7", 3, 3, 0, 0, 3)}


def books(**changes: Any) -> Books:
    """Books that agree, but for what is changed. Where it is a mapping, its entries replace those; None removes one."""
    merged: dict[str, Any] = {}
    for name, clean in (
        ("orders", {"o1": SHIPPED, "o2": REJECTED, "o3": CANCELLED}),
        ("reservations", RESERVATIONS),
        ("sales_orders", SALES_ORDERS),
        ("payments", PAYMENTS),
        ("stock", STOCK),
    ):
        entries = {**clean, **changes.get(name, {})}
        merged[name] = [entry for entry in entries.values() if entry is not None]
    return Books(mails=changes.get("mails", MAILS), **merged)


def shipped(**changes: Any) -> dict[str, OrderBook]:
    return {"o1": replace(SHIPPED, **changes)}


DIFFERENCES: dict[str, tuple[Books, str, str]] = {
    "gap in the history": (books(orders=shipped(history=[(1, LIFE[0]), (3, LIFE[1])])), "o1", "gaps"),
    "history that does not lead there": (books(orders=shipped(history=history(*LIFE[:2]))), "o1", "history is"),
    "step taken twice": (books(orders=shipped(history=history(*LIFE, "order.shipped"))), "o1", "history is"),
    "event not published": (books(orders=shipped(unpublished=1)), "o1", "not been published"),
    "no reservation": (books(reservations={"o1": None}), "o1", "inventory should hold"),
    "reservation of something else": (
        books(reservations={"o1": Reservation("o1", "shipped", {"42": 1})}), "o1", "inventory should hold",
    ),
    "reservation still held": (
        books(reservations={"o1": Reservation("o1", "held", {"42": 2})}), "o1", "inventory should hold",
    ),
    "no sales order": (books(sales_orders={"o1": None}), "o1", "the ERP should hold"),
    "two shipments": (books(sales_orders={"o1": SalesOrder("o1", "shipped", 2)}), "o1", "the ERP should hold"),
    "second sales order": (books(sales_orders={"again": SALES_ORDERS["o1"]}), "o1", "the ERP should hold"),
    "no payment": (books(payments={"o1": None}), "o1", "taken the money once"),
    "second payment": (books(payments={"again": Payment("o1", "pi_9", "succeeded")}), "o1", "taken the money once"),
    "another payment": (books(payments={"o1": Payment("o1", "pi_9", "succeeded")}), "o1", "taken the money once"),
    "money not taken": (books(payments={"o1": Payment("o1", "pi_1", "processing")}), "o1", "taken the money once"),
    "missing mail": (books(mails=MAILS[1:]), "o1", "0 mails of the kind 'confirmed', expected 1"),
    "mail sent twice": (books(mails=[*MAILS, MAILS[1]]), "o1", "2 mails of the kind 'shipped', expected 1"),
    "mail that should not be": (books(mails=[*MAILS, Mail("o2", "shipped")]), "o2", "1 mails of the kind 'shipped'"),
    "refused, but held": (
        books(reservations={"o2": Reservation("o2", "held", {"7": 3})}), "o2", "still holds something",
    ),
    "refused, but open at the ERP": (
        books(sales_orders={"o3": SalesOrder("o3", "open", 0)}), "o3", "the ERP has not cancelled",
    ),
    "refused, but shipped by the ERP": (
        books(sales_orders={"o3": SalesOrder("o3", "cancelled", 1)}), "o3", "the ERP has not cancelled",
    ),
    "refused, but paid": (books(payments={"o3": Payment("o3", "pi_3", "succeeded")}), "o3", "money was taken"),
    "refused, but about to be paid": (
        books(payments={"o3": Payment("o3", "pi_3", "processing")}), "o3", "money was taken",
    ),
    "stranger at inventory": (books(reservations={"x": Reservation("x", "released", {})}), "x", "never accepted"),
    "stranger at the ERP": (books(sales_orders={"x": SalesOrder("x", "cancelled", 0)}), "x", "never accepted"),
    "stranger at the payment provider": (books(payments={"x": Payment("x", "pi", "canceled")}), "x", "never accepted"),
    "stranger in the mail": (books(mails=[*MAILS, Mail("x", "confirmed")]), "x", "never accepted"),
    "stock lost": (books(stock={"42": Stock("42", 100, 97, 0, 2, 98)}), "42", "is not the 100 that came in"),
    "stock and reservations differ": (
        books(stock={"42": Stock("42", 100, 97, 1, 2, 98)}), "42", "but reservations say 0 held and 2 shipped",
    ),
    "ERP has another figure": (books(stock={"42": Stock("42", 100, 98, 0, 2, 100)}), "42", "the ERP has 100, not 98"),
}  # fmt: skip


def test_clean_books_are_clean() -> None:
    """Where everything is told the same there is no difference, and no order is in flight."""
    report = audit(books())
    assert as_dict(report) == {"orders": 3, "in_flight": [], "differences": []}
    assert report.clean


@pytest.mark.parametrize("kind", sorted(DIFFERENCES))
def test_each_difference_is_found_and_named(kind: str) -> None:
    """One entry that differs is told of its order or product, saying what; no other order is blamed for it."""
    differing, subject, words = DIFFERENCES[kind]
    report = audit(differing)
    assert not report.clean
    assert any(words in difference.what for difference in report.differences if difference.subject == subject)
    assert {difference.subject for difference in report.differences} <= {subject, *STOCK}


def test_delivered_order_is_clean() -> None:
    """A delivery after the shipment is the good end, not a difference."""
    assert audit(books(orders=shipped(history=history(*LIFE, "order.delivered")))).clean


@pytest.mark.parametrize("status", ["pending", "confirmed", "paid"])
def test_orders_in_flight_are_listed_and_not_judged(status: str) -> None:
    """An order on its way may be half known everywhere, and the stock may be in motion with it."""
    flying = replace(PENDING, status=status)
    report = audit(
        books(
            orders={"o4": flying},
            reservations={"o4": Reservation("o4", "held", {"42": 1})},
            payments={"o4": Payment("o4", "pi_4", "processing")},
        )
    )
    assert report.clean
    assert list(report.in_flight) == ["o4"]


def test_gap_is_judged_even_in_flight() -> None:
    """A history has no gaps at any time."""
    gap = replace(PENDING, status="confirmed", history=[(1, "order.placed"), (3, "order.confirmed")])
    assert [difference.subject for difference in audit(books(orders={"o4": gap})).differences] == ["o4"]


def test_stock_adds_up_even_in_flight() -> None:
    """What came in is available, reserved or shipped at any time."""
    report = audit(books(orders={"o4": PENDING}, stock={"42": Stock("42", 100, 90, 0, 2, 98)}))
    assert [difference.subject for difference in report.differences] == ["42"]


def test_silent_erp_is_no_difference() -> None:
    """An ERP that did not answer is not compared with."""
    assert audit(books(stock={"42": Stock("42", 100, 98, 0, 2, None)})).clean

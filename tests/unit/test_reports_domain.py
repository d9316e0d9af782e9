"""What counts as a sale, and what sales add up to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from chassis.broker.groups.leases import Lease, Unchanged, share
from chassis.errors import ShopError
from services.reports.consumer import fact_of
from services.reports.domain import (
    Amounts,
    By,
    Ended,
    Key,
    Line,
    Paid,
    Placed,
    Sale,
    added,
    figures_of,
    learned,
    period,
)
from tests.reports.orders import Order, event, life

NOW = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)
DAY = NOW.date()
LINES = [Line("42", "Keyboard", 1, 8_900), Line("7", "Plane", 2, 69_800), Line("42", "Keyboard", 2, 17_800)]
PLACED = Placed("o1", "123", "EUR", LINES)


def test_a_sale_adds_to_its_day_its_products_and_its_customer() -> None:
    """Each has the order once, however many lines it has, and the pieces and amounts of its own lines."""
    assert figures_of(Sale(NOW, PLACED)) == {
        Key(By.DAY, DAY, "", "EUR"): Amounts(1, 5, 96_500),
        Key(By.CUSTOMER, DAY, "123", "EUR"): Amounts(1, 5, 96_500),
        Key(By.PRODUCT, DAY, "42", "EUR"): Amounts(1, 3, 26_700, "Keyboard"),
        Key(By.PRODUCT, DAY, "7", "EUR"): Amounts(1, 2, 69_800, "Plane"),
    }


def test_the_day_of_a_sale_is_that_of_its_payment_in_utc() -> None:
    """Wherever the clock stands."""
    late = datetime(2026, 3, 6, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert Sale(late, PLACED).day == DAY


def test_an_order_whose_content_comes_later_moves_from_unknown_to_its_figures() -> None:
    """Before and after, and in sum, it is one order."""
    before, change = figures_of(Sale(NOW, None)), learned(Sale(NOW, PLACED))
    after = {key: amounts for key, amounts in added([before, change]).items() if amounts != Amounts(0, 0, 0)}
    assert before == {Key(By.UNKNOWN, DAY, "", ""): Amounts(1, 0, 0)}
    assert after == added([figures_of(Sale(NOW, PLACED))])


def test_the_log_tells_of_sales_by_three_kinds_of_events() -> None:
    """Placed says what is in an order, paid that it is sold, rejected and cancelled that it never will be."""
    placed, _, paid, _ = (fact_of(each) for each in life(Order("42", 2, id="o2", at=NOW)))
    assert placed == Placed("o2", "123", "EUR", [Line("42", "Product 42", 2, 17_800)])
    assert paid == Paid("o2", NOW)
    for kind in ("rejected", "cancelled"):
        assert fact_of(event(kind, "o2", NOW)) == Ended("o2")


@pytest.mark.parametrize("kind", ["confirmed", "delayed", "shipped", "delivered", "refund_due"])
def test_the_others_say_nothing_of_sales(kind: str) -> None:
    """Money that is given back is that of an order which was never counted."""
    assert fact_of(event(kind, "o3", NOW)) is None


@pytest.mark.parametrize(
    "facts",
    [
        {"items": 5},
        {"items": [{"unit_price": "much"}]},
        {"items": [{"unit_price": "0.001", "quantity": 1}]},
        {"items": [{"unit_price": "9e999999", "quantity": 2}]},
        {"items": [{"unit_price": "1e20", "quantity": 1}]},
        {"items": [{"unit_price": "6e12", "quantity": 1}] * 2},
        {"items": [{"name": "\0", "unit_price": "1.00", "quantity": 1}]},
        {"items": [{"product_id": "4\0", "unit_price": "1.00", "quantity": 1}]},
        {"items": [], "user_id": "\0"},
        {"items": [{"product_id": "4" * 256, "unit_price": "1.00", "quantity": 1}]},
        {"items": [], "user_id": "u" * 256},
        {"items": [], "currency": "E" * 256},
    ],
)
def test_an_order_that_breaks_its_contract_is_none(facts: dict[str, object]) -> None:
    """It is distinguished from one without sales."""
    with pytest.raises(ValueError, match=r"."):
        fact_of(event("placed", "o4", NOW, **{"currency": "EUR", **facts}))


@pytest.mark.parametrize("kind", ["placed", "paid", "cancelled"])
@pytest.mark.parametrize("order_id", ["o\0", "o" * 256])
def test_an_order_id_that_no_database_takes_breaks_the_contract(kind: str, order_id: str) -> None:
    """Whatever the event is."""
    with pytest.raises(ValueError, match="the order's id"):
        fact_of(event(kind, order_id, NOW))


def test_the_days_of_a_report() -> None:
    """Today and the 29 days before, unless days are named; as many as a year has."""
    today = date(2026, 3, 5)
    assert period("", "", today) == (date(2026, 2, 4), today)
    assert period("", "2026-01-31", today) == (date(2026, 1, 2), date(2026, 1, 31))
    assert period("2025-03-05", "2026-03-05", today) == (date(2025, 3, 5), today)
    assert period("", "0001-01-02", today) == (date.min, date(1, 1, 2))
    assert period("2026-03-05", "2026-03-05", today) == (today, today)


def test_what_is_taken_away_is_all_of_it() -> None:
    """Orders, pieces and revenue, with the name by which they were counted."""
    assert -Amounts(1, 2, 300, "Keyboard") == Amounts(-1, -2, -300, "Keyboard")


@pytest.mark.parametrize(
    ("first", "last", "message", "fields"),
    [
        (
            "2026-03-06",
            "2026-03-05",
            "the report's days are out of order",
            {"first_day": "must not be after `last_day`"},
        ),
        (
            "2025-03-04",
            "2026-03-05",
            "the report has too many days",
            {"first_day": "must be less than 366 days before `last_day`"},
        ),
        ("2026-02-30", "", "invalid day", {"first_day": "must be a day such as 2026-01-31"}),
        ("20260301", "", "invalid day", {"first_day": "must be a day such as 2026-01-31"}),
        ("", "2026-W01-1", "invalid day", {"last_day": "must be a day such as 2026-01-31"}),
    ],
)
def test_days_that_make_no_report_are_named(first: str, last: str, message: str, fields: dict[str, str]) -> None:
    """Out of order, too many, or none at all."""
    with pytest.raises(ShopError) as refused:
        period(first, last, date(2026, 3, 5))
    assert (refused.value.message, refused.value.fields) == (message, fields)


def settled(partitions: int, copies: list[str], *, held: dict[int, str] | None = None) -> tuple[dict[int, str], int]:
    """The owner of each partition once nothing moves any more, and how many moves that took."""
    owners, moves = dict(held or {}), 0
    until = NOW + timedelta(seconds=6)
    for _ in range(20):
        before = dict(owners)
        for me in copies:
            leases = [Lease(each, owners.get(each, ""), until) for each in range(partitions)]
            claimed, given_up = share(leases, me, len(copies), NOW)
            moves += len(claimed)
            owners |= dict.fromkeys(claimed, me)
            owners = {each: owner for each, owner in owners.items() if each not in given_up}
        if owners == before:
            return owners, moves
    raise AssertionError(f"partitions keep moving: {owners}")


@pytest.mark.parametrize("partitions", [1, 2, 5, 12])
@pytest.mark.parametrize("copies", [["a"], ["a", "b"], ["a", "b", "c"], list("abcde")])
def test_copies_end_with_equally_many_partitions(partitions: int, copies: list[str]) -> None:
    """Give or take one, whichever copy had all of them before; and then nothing moves."""
    for held in ({}, dict.fromkeys(range(partitions), copies[0])):
        owners, _ = settled(partitions, copies, held=held)
        counts = [list(owners.values()).count(each) for each in copies]
        assert sum(counts) == partitions
        assert max(counts) - min(counts) <= 1


def test_the_only_partition_stays_where_it_is() -> None:
    """Another copy waits for it, and takes it when its lease has ended."""
    assert settled(1, ["b", "a"], held={0: "a"}) == ({0: "a"}, 0)
    ended = [Lease(0, "a", NOW - timedelta(seconds=1))]
    assert share(ended, "b", 1, NOW) == ([0], [])


def test_a_stamp_that_is_not_renewed_ends_whatever_time_it_says() -> None:
    """Written by a clock that was an hour ahead, it ends like any other, by a clock that is never set."""
    passed = [0.0]
    unchanged = Unchanged(6.0, steady=lambda: passed[0])
    future = NOW + timedelta(hours=1)
    assert not unchanged("a", future)
    passed[0] = 5.9
    assert not unchanged("a", future)
    assert not unchanged("b", future)
    passed[0] = 6.0
    assert unchanged("a", future)
    # Should it be there again, it is new.
    assert not unchanged("a", future)


def test_a_stamp_that_is_renewed_does_not_end() -> None:
    """However late each renewal is seen."""
    passed = [0.0]
    unchanged = Unchanged(6.0, steady=lambda: passed[0])
    for beat in range(5):
        passed[0] = 100.0 * beat
        assert not unchanged("a", NOW + timedelta(seconds=beat))

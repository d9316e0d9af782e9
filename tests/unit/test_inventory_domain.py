"""What can be promised, and the calls to the ERP for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import Kind, ShopError, StoreUnavailable, timed_out, unavailable
from services.inventory.domain import (
    Adjustment,
    Availability,
    Line,
    Reservation,
    State,
    Stock,
    availability,
    not_held,
    order_closed,
    out_of_stock,
    reference_reused,
    reservation_expired,
)
from services.inventory.ports import StockStore
from services.inventory.use_cases import MAX_ADJUSTMENT, MAX_IDS, Inventory

THEN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)
TTL = timedelta(minutes=15)
STOCK = Stock("42", received=100, available=60, reserved=30, shipped=10, erp_on_hand=90, erp_as_of=THEN)

OVERLOADED = ShopError("OVERLOADED", "too many calls: try again later", Kind.EXHAUSTED)


class FakeStore:
    """Fake: one product's figures, and what was done to them."""

    def __init__(self, stock: Stock) -> None:
        self.figures = {stock.product_id: stock}
        self.noted: list[Mapping[str, int]] = []
        self.reserved: list[Sequence[Line]] = []
        self.expires_at: datetime | None = None

    async def stock(self, product_ids: Sequence[str]) -> dict[str, Stock]:
        return {key: self.figures[key] for key in product_ids if key in self.figures}

    async def note_erp_levels(self, levels: Mapping[str, int], as_of: datetime) -> None:
        self.noted.append(levels)

    async def stock_page(self, after: str, size: int) -> list[Stock]:
        return list(self.figures.values())

    async def reserve(self, order_id: str, lines: Sequence[Line], expires_at: datetime | None = None) -> None:
        self.reserved.append(lines)
        self.expires_at = expires_at


class FakeErp:
    """Fake: answers as it is set to; while it is `slow`, only callers with the long timeout."""

    def __init__(self, answer: Mapping[str, int] | ShopError, *, slow: bool = False) -> None:
        self.answer = answer
        self.slow = slow

    async def stock_levels(self, product_ids: Sequence[str], *, long_timeout: bool = False) -> Mapping[str, int]:
        if self.slow and not long_timeout:
            raise timed_out("the ERP")
        if isinstance(self.answer, ShopError):
            raise self.answer
        return self.answer

    async def book(self, adjustment: Adjustment) -> None:
        raise AssertionError("who asks for levels books nothing")


class FullStore(FakeStore):
    """Fake: can be read, and takes no write."""

    async def note_erp_levels(self, levels: Mapping[str, int], as_of: datetime) -> None:
        raise StoreUnavailable


def inventory(answer: Mapping[str, int] | ShopError, stock: Stock = STOCK) -> tuple[Inventory, FakeStore]:
    store = FakeStore(stock)
    return Inventory(cast("StockStore", store), FakeErp(answer), reservation_ttl=TTL, clock=lambda: NOW), store


@pytest.mark.parametrize(("erp_on_hand", "available"), [(90, 60), (95, 60), (70, 40), (30, 0), (0, 0)])
def test_no_more_is_promised_than_lies_in_the_warehouse(erp_on_hand: int, available: int) -> None:
    """What is available is our figure, or what the warehouse holds beyond the reserved if that is less."""
    found = availability(STOCK, erp_on_hand=erp_on_hand, now=NOW)
    assert (found.available, found.stale, found.as_of) == (available, False, NOW)


def test_last_known_figure_is_marked_stale() -> None:
    """Without the ERP's answer its last one is used, with its time."""
    found = availability(replace(STOCK, erp_on_hand=70), erp_on_hand=None, now=NOW)
    assert found == Availability("42", 40, stale=True, as_of=THEN)


@pytest.mark.parametrize(
    ("make", "code", "message", "details"),
    [
        (lambda: out_of_stock(["42", "7"]), "OUT_OF_STOCK", "not enough of 42, 7 in stock", {"product_ids": "42,7"}),
        (lambda: order_closed("o1"), "ORDER_CLOSED", "order o1 can reserve nothing more", {}),
        (lambda: reservation_expired("o1"), "RESERVATION_EXPIRED", "the reservation of order o1 has expired", {}),
        (lambda: reference_reused("a1"), "REFERENCE_REUSED", "the id a1 is used for another adjustment", {}),
        (
            lambda: not_held("o1", State.SHIPPED),
            "RESERVATION_NOT_HELD",
            "the reservation of order o1 is shipped",
            {"state": "shipped"},
        ),
    ],
)
def test_refusals_have_codes_and_facts(
    make: Callable[[], ShopError], code: str, message: str, details: dict[str, str]
) -> None:
    """A caller can act on the code and the facts, a person on the words; trying again changes none of them."""
    error = make()
    assert (error.code, error.message, error.details) == (code, message, details)
    assert error.kind is Kind.PRECONDITION


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-(10**9), 10**9) | st.none())
def test_promise_is_never_negative_nor_more_than_ours(ours: int, reserved: int, erp: int | None) -> None:
    """Whatever the ERP says, the promise is between nothing and our own figure."""
    found = availability(replace(STOCK, available=ours, reserved=reserved), erp_on_hand=erp, now=NOW)
    assert 0 <= found.available <= ours


@pytest.mark.parametrize("silence", [unavailable("erp_adapter"), timed_out("erp_adapter"), OVERLOADED])
async def test_silent_erp_makes_the_answer_stale(silence: ShopError) -> None:
    """An ERP that does not answer in time costs the answer its freshness, not the answer."""
    asked, store = inventory(silence)
    (found,) = await asked.availability(["42"], live=True)
    assert (found.available, found.stale, found.as_of) == (60, True, THEN)
    assert store.noted == []


async def test_wrong_answer_of_the_erp_is_not_taken_for_silence() -> None:
    """An error of another kind is not hidden behind an old figure."""
    asked, _ = inventory(ShopError("WRONG", "", Kind.INTERNAL))
    with pytest.raises(ShopError, match="WRONG"):
        await asked.availability(["42"], live=True)


async def test_erps_news_is_kept() -> None:
    """A new figure of the ERP is kept for the time when it does not answer; an unchanged recent one costs no write."""
    asked, store = inventory({"42": 80})
    await asked.availability(["42"], live=True)
    asked, quiet = inventory({"42": 90}, replace(STOCK, erp_as_of=datetime.now(UTC)))
    await asked.availability(["42"], live=True)
    assert (store.noted, quiet.noted) == ([{"42": 80}], [])


async def test_news_that_cannot_be_kept_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """While the database takes no write, a read of the ERP's figure is answered, and the log says what was not kept."""
    store = cast("StockStore", FullStore(STOCK))
    asked = Inventory(store, FakeErp({"42": 70}), reservation_ttl=TTL, clock=lambda: NOW)
    (found,) = await asked.availability(["42"], live=True)
    assert (found.available, found.stale) == (40, False)
    assert "inventory: the ERP's stock levels not recorded: STORE_UNAVAILABLE" in caplog.text


async def test_unknown_products_are_left_out_in_the_order_asked_for() -> None:
    """An availability is answered for what is known, in the order of the question."""
    asked, _ = inventory({})
    assert [found.product_id for found in await asked.availability(["x", "42"], live=False)] == ["42"]


async def test_too_many_products_at_once() -> None:
    """A question has a bound."""
    asked, _ = inventory({})
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        await asked.availability(["x"] * (MAX_IDS + 1), live=False)


async def test_lines_of_one_product_are_one_in_the_order_of_products() -> None:
    """A reservation has one line per product, sorted, so that two orders never wait for each other in a circle."""
    asked, store = inventory({})
    await asked.reserve("o", [Line("b", 1), Line("a", 2), Line("b", 3)])
    assert store.reserved == [[Line("a", 2), Line("b", 4)]]


async def test_reservation_is_made_for_a_while() -> None:
    """What is reserved is held for as long as the setting says, counted from now."""
    asked, store = inventory({})
    await asked.reserve("o", [Line("a", 1)])
    assert store.expires_at == NOW + TTL


@pytest.mark.parametrize(
    ("known", "until", "renewed"),
    [
        (Reservation("o", State.HELD, [], NOW), NOW + TTL, True),
        (Reservation("o", State.HELD, [], NOW), NOW, False),
        (Reservation("o", State.HELD, [], NOW), THEN, False),
        (Reservation("o", State.HELD, [], NOW), None, False),
        (Reservation("o", State.HELD, []), NOW + TTL, False),
        (Reservation("o", State.SHIPPED, []), NOW + TTL, False),
        (Reservation("o", State.RELEASED, []), NOW + TTL, False),
        (Reservation("o", State.RELEASED, [], NOW), NOW + TTL, False),
    ],
)
def test_only_what_is_held_for_a_time_can_be_renewed(known: Reservation, until: datetime | None, renewed: bool) -> None:
    """Reserving again lets a reservation last longer, never shorter; what is confirmed or has ended stays so."""
    assert known.renewed_by(until) is renewed


@pytest.mark.parametrize(("order_id", "lines"), [("", [Line("a", 1)]), ("o", []), ("o", [Line("a", 1), Line("b", 0)])])
async def test_senseless_reservation(order_id: str, lines: list[Line]) -> None:
    """A reservation of nothing, for nobody, or of less than one piece is bad input."""
    asked, store = inventory({})
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        await asked.reserve(order_id, lines)
    assert store.reserved == []


@pytest.mark.parametrize(
    ("adjustment_id", "product_id", "quantity"),
    [("", "42", 1), ("a", "", 1), ("a", "42", 0), ("a", "42", MAX_ADJUSTMENT + 1), ("a", "42", -(2**63))],
)
async def test_senseless_adjustment(adjustment_id: str, product_id: str, quantity: int) -> None:
    """A report without an id, a product or a number of pieces that a scanner can have counted is bad input."""
    asked, _ = inventory({})
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        await asked.adjust(adjustment_id, Line(product_id, quantity))


async def test_slow_erp_is_waited_for_by_who_compares_books_and_by_no_customer() -> None:
    """A listing has the ERP's figures though it is slow; a customer gets the last known ones."""
    slow = FakeErp({"42": 7}, slow=True)
    listing = Inventory(cast("StockStore", FakeStore(STOCK)), slow, reservation_ttl=TTL)
    _, levels = await listing.stock("", 10)
    assert levels == {"42": 7}
    (found,) = await listing.availability(["42"], live=True)
    assert found.stale

"""What any ERP can take, and the states of a shipment."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from chassis.errors import ShopError
from services.erp_adapter.domain import (
    Item,
    NewSalesOrder,
    ShipmentState,
    check_cents,
    check_order,
    check_quantity,
    check_reference,
    shipment_state,
)

DAY = date(2026, 11, 28)


def refused(error: pytest.ExceptionInfo[ShopError]) -> tuple[str, str, dict[str, str]]:
    return error.value.code, error.value.message, dict(error.value.fields)


@pytest.mark.parametrize("identifier", ["a", "!", "~", "a" * 64, "6f9619ff-8b86-d011-b42d-00c04fc964ff"])
def test_references_that_an_erp_can_take(identifier: str) -> None:
    """One to sixty-four visible ASCII characters, given back as they are."""
    assert check_reference("order_id", identifier) == identifier


@pytest.mark.parametrize("identifier", ["", "a b", "ä", "a\n", "a" * 65, "\x7f"])
def test_references_that_it_cannot(identifier: str) -> None:
    """Nothing, blanks, other letters, or one character too many; the field is blamed."""
    with pytest.raises(ShopError) as error:
        check_reference("order_id", identifier)
    message = f"the ERP cannot take {identifier[:64]!r}"
    assert refused(error) == ("INVALID_INPUT", message, {"order_id": "must be 1-64 visible ASCII characters"})


@pytest.mark.parametrize("quantity", [1, 999_999_999])
def test_quantities_that_an_erp_can_take(quantity: int) -> None:
    """From one piece to nine digits of them."""
    assert check_quantity(quantity) == quantity


@pytest.mark.parametrize("quantity", [-1, 0, 1_000_000_000])
def test_quantities_that_it_cannot(quantity: int) -> None:
    """None, less than none, or ten digits."""
    with pytest.raises(ShopError) as error:
        check_quantity(quantity)
    message = f"the ERP cannot take {quantity} pieces"
    assert refused(error) == ("INVALID_INPUT", message, {"quantity": "must be 1 to 999999999"})


@pytest.mark.parametrize(
    ("amount", "currency", "cents"),
    [("0", "EUR", 0), ("0.01", "EUR", 1), ("9999999.99", "EUR", 999_999_999), ("999999999", "JPY", 999_999_999)],
)
def test_amounts_that_an_erp_can_take(amount: str, currency: str, cents: int) -> None:
    """From nothing to nine digits of the currency's minor unit."""
    assert check_cents(Decimal(amount), currency) == cents


@pytest.mark.parametrize(
    ("amount", "currency", "most"),
    [
        ("-0.01", "EUR", "9999999.99"),
        ("0.001", "EUR", "9999999.99"),
        ("10000000.00", "EUR", "9999999.99"),
        ("0.5", "JPY", "999999999"),
        ("1000000000", "JPY", "999999999"),
    ],
)
def test_amounts_that_it_cannot(amount: str, currency: str, most: str) -> None:
    """Less than nothing, too much, or parts of a minor unit: nothing is rounded."""
    with pytest.raises(ShopError) as error:
        check_cents(Decimal(amount), currency)
    message = f"the ERP cannot take the amount {amount} {currency}"
    why = f"must be 0 to {most}, with no more decimal places"
    assert refused(error) == ("INVALID_INPUT", message, {"unit_price": why})


def order(*items: Item, currency: str = "EUR") -> NewSalesOrder:
    return NewSalesOrder("o1", "c1", items, currency, datetime(2026, 11, 28, tzinfo=UTC))


def test_an_order_with_lines_and_a_currency_is_accepted() -> None:
    """Its fields are checked one by one, elsewhere."""
    check_order(order(Item("1", 1, Decimal(1))))


@pytest.mark.parametrize(
    ("wrong", "message", "details"),
    [
        (order(), "order must have items", {"items": "must not be empty"}),
        (
            order(Item("1", 1, Decimal(1)), currency="euro"),
            "unknown currency",
            {"currency": "must be an ISO 4217 code"},
        ),
    ],
)
def test_an_order_without_them_is_refused(wrong: NewSalesOrder, message: str, details: dict[str, str]) -> None:
    """The field that is missing is named."""
    with pytest.raises(ShopError) as error:
        check_order(wrong)
    assert refused(error) == ("INVALID_INPUT", message, details)


@pytest.mark.parametrize(
    ("days", "state"),
    [
        (-1, ShipmentState.CREATED),
        (0, ShipmentState.IN_TRANSIT),
        (1, ShipmentState.IN_TRANSIT),
        (2, ShipmentState.DELIVERED),
        (3, ShipmentState.DELIVERED),
    ],
)
def test_a_shipment_is_on_its_way_for_two_days(days: int, state: ShipmentState) -> None:
    """It is created before the day on which it leaves, and delivered two days after it."""
    assert shipment_state(DAY, date.fromordinal(DAY.toordinal() + days)) is state

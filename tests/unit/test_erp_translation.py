"""The table of the ERP's habits and our words holds for every value, not only for the examples."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import legacy_soap
from chassis.errors import Kind, ShopError
from legacy_soap import formats
from services.erp_adapter import translation
from services.erp_adapter.domain import Item, NewSalesOrder, OrderState, ShipmentState, check_reference
from services.erp_adapter.translation import ERRORS, ErpFault

ORDER = NewSalesOrder(
    "order-1", "123", [Item("42", 2, Decimal("49.00"))], "EUR", datetime(2004, 2, 1, 23, 30, tzinfo=UTC)
)


@given(st.integers(-999_999_999, 999_999_999))
def test_the_erp_s_quantities_are_read_as_they_were_written(quantity: int) -> None:
    """Whatever stock the ERP can write, with its minus sign behind, we read as the same number."""
    assert translation.from_quantity(formats.signed_number(quantity)) == quantity


@given(st.integers(1, 999_999_999))
def test_our_quantities_are_read_as_they_were_written(quantity: int) -> None:
    """A quantity survives the way there, in nine digits."""
    text = translation.to_quantity(quantity)
    assert len(text) == 9
    assert int(text) == quantity


@given(st.decimals("0.00", "9999999.99", places=2))
def test_money_is_cents(amount: Decimal) -> None:
    """An amount becomes its cents in nine digits, without losing one."""
    text = translation.to_cents(amount, "EUR")
    assert len(text) == 9
    assert Decimal(text) / 100 == amount


@pytest.mark.parametrize("amount", ["-0.01", "0.001", "10000000.00", "NaN", "Infinity", "1E+30"])
def test_money_that_does_not_fit_is_refused(amount: str) -> None:
    """An amount that nine digits of cents cannot hold is INVALID_INPUT, never rounded."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        translation.to_cents(Decimal(amount), "EUR")


@pytest.mark.parametrize("quantity", [0, -1, 1_000_000_000])
def test_quantities_that_do_not_fit_are_refused(quantity: int) -> None:
    """A quantity that is none, or too long, is INVALID_INPUT."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        translation.to_quantity(quantity)


@given(st.dates())
def test_days_are_read_as_they_were_written(day: date) -> None:
    """Every day of every year survives both ways."""
    text = translation.to_day(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))
    assert translation.from_day(text.zfill(8)) == day
    assert formats.read_date(text.zfill(8)) == day


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 30)))  # noqa: DTZ001 - the strategy wants them naive
def test_times_are_utc(moment: datetime) -> None:
    """The ERP's date and time are one moment in UTC, to the second."""
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    assert translation.from_time(formats.date_text(moment), formats.time_text(moment)) == moment


def test_an_order_belongs_to_its_day_in_utc() -> None:
    """An order of half past midnight in Berlin is one of the day before."""
    berlin = timezone(timedelta(hours=1))
    assert translation.to_day(datetime(2004, 2, 1, 0, 30, tzinfo=berlin)) == "20040131"


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64))
def test_any_id_is_a_reference(identifier: str) -> None:
    """Our ids go to the ERP as they are: it keeps them as cross-references beside its own numbers."""
    assert check_reference("order_id", identifier) == identifier


@pytest.mark.parametrize("identifier", ["", "x" * 65, "a b", "a\n", "\0", "ä", "\ud800"])
def test_what_the_erp_cannot_hold_is_no_reference(identifier: str) -> None:
    """An id that the ERP's field cannot hold is INVALID_INPUT, and the error names our field."""
    with pytest.raises(ShopError) as caught:
        check_reference("order_id", identifier)
    assert caught.value.code == "INVALID_INPUT"
    assert list(caught.value.fields) == ["order_id"]


def test_an_order_in_their_words() -> None:
    """A whole order, translated field by field."""
    assert translation.order_request(ORDER) == {
        "CustRef": "order-1",
        "CustNo": "123",
        "OrdDate": "20040201",
        "Curr": "EUR",
        "Lines": {"OrderLine": [{"AltRef": "42", "Qty": "000000002", "UnitPrc": "000004900"}]},
    }


def test_answers_in_our_words() -> None:
    """Stock, orders and shipments, translated field by field; unknown articles are left out."""
    line = SimpleNamespace(
        ArtNo="ART-000023", AltRef="42", OnHand="000000003-", Stat="10", AsOfDate="20040201", AsOfTime="140500"
    )
    unknown = SimpleNamespace(
        ArtNo=None, AltRef="x", OnHand="000000000", Stat="90", AsOfDate="20040201", AsOfTime="140500"
    )
    (level,) = translation.stock_levels([line, unknown])
    assert (level.product_id, level.on_hand, level.as_of) == ("42", -3, datetime(2004, 2, 1, 14, 5, tzinfo=UTC))
    order = translation.sales_order(
        SimpleNamespace(OrdNo="0000004711", CustRef="order-1", Stat="20", Shipments="000000001")
    )
    assert (order.order_id, order.number, order.state, order.shipments) == (
        "order-1",
        "0000004711",
        OrderState.SHIPPED,
        1,
    )
    shipment = translation.shipment(
        SimpleNamespace(ShpNo="0000000009", CustRef="order-1", Stat="20", ShpDate="20040202")
    )
    assert (shipment.number, shipment.state, shipment.ships_on) == (
        "0000000009",
        ShipmentState.IN_TRANSIT,
        date(2004, 2, 2),
    )


@pytest.mark.parametrize(
    "change", [{"Stat": "11"}, {"OrdNo": "4711"}, {"OrdNo": None}, {"Shipments": "1"}, {"Shipments": None}]
)
def test_an_answer_that_breaks_the_format_is_not_guessed_at(change: dict[str, str | None]) -> None:
    """An unknown status code or a field in another format is an error, not a default."""
    fields = {"OrdNo": "0000004711", "CustRef": "order-1", "Stat": "20", "Shipments": "000000001"} | change
    with pytest.raises(ValueError, match=r"format|status code"):
        translation.sales_order(SimpleNamespace(**fields))


@pytest.mark.parametrize(
    ("code", "ours", "kind"),
    [
        ("ERR-017", "CREDIT_LIMIT_EXCEEDED", Kind.PRECONDITION),
        ("ERR-042", "PRODUCT_UNKNOWN", Kind.PRECONDITION),
        ("ERR-044", "NOT_FOUND", Kind.NOT_FOUND),
        ("ERR-051", "ORDER_CANCELLED", Kind.PRECONDITION),
        ("ERR-052", "ORDER_SHIPPED", Kind.PRECONDITION),
        ("ERR-900", "ERP_MAINTENANCE", Kind.UNAVAILABLE),
        ("ERR-123", "ERP_FAILED", Kind.UNAVAILABLE),
        ("", "ERP_FAILED", Kind.UNAVAILABLE),
    ],
)
def test_their_faults_are_our_errors(code: str, ours: str, kind: Kind) -> None:
    """Every fault has a stable code of ours; an unknown one may be tried again."""
    error = translation.error_of(ErpFault(code, "THEIR TEXT", "item-1"))
    assert (error.code, error.kind) == (ours, kind)


def test_no_word_of_theirs_leaves() -> None:
    """Neither their codes nor their texts are in any error of ours; what can be tried again says when."""
    for code in ERRORS:
        error = translation.error_of(ErpFault(code, "THEIR TEXT"))
        assert "ERR-" not in str(error)
        assert "THEIR" not in str(error)
        assert (error.retry_after is not None) == (error.kind is Kind.UNAVAILABLE)


def test_the_table_of_faults_is_complete() -> None:
    """Every fault code that the ERP's documentation names has an error of ours, and no other has."""
    assert set(re.findall(r"^\| (ERR-[0-9]{3}) ", legacy_soap.__doc__ or "", re.MULTILINE)) == set(ERRORS)


@given(st.integers(-999_999_999, 999_999_999).filter(bool))
def test_quantities_of_receipts_are_read_as_they_were_written(quantity: int) -> None:
    """What we book, in or out, the ERP reads as the same number."""
    assert formats.read_signed_number(translation.to_signed_quantity(quantity)) == quantity

"""Currencies, by ISO 4217."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from iso4217 import Currency

from chassis.currency import PLACES, from_minor, is_currency, to_minor


@given(st.sampled_from(sorted(PLACES)), st.integers(0, 10**9))
def test_minor_units_there_and_back(code: str, minor: int) -> None:
    """Whatever the currency, a whole number of minor units is an amount and that amount is it again."""
    amount = from_minor(minor, code)
    assert to_minor(amount, code) == minor
    assert -amount.as_tuple().exponent == PLACES[code]  # type: ignore[operator]  # it is finite


@pytest.mark.parametrize("text", ["500.50", "0.1", "NaN", "Infinity", "1e-99999997", "1e99999997"])
def test_nothing_is_rounded(text: str) -> None:
    """An amount that is finer than its currency, or none, is an error."""
    with pytest.raises(ValueError, match="decimal places"):
        to_minor(Decimal(text), "JPY")


@pytest.mark.parametrize("text", ["0." + "9" * 30, "1." + "0" * 33 + "1", "1000000000000000000000.001"])
def test_nothing_is_rounded_however_many_digits_there_are(text: str) -> None:
    """An amount with more digits than a Decimal computes with is an error, not the nearest amount."""
    with pytest.raises(ValueError, match="decimal places"):
        to_minor(Decimal(text), "EUR")
    assert to_minor(Decimal("5." + "0" * 40), "EUR") == 500


def test_zero_of_any_exponent_is_zero() -> None:
    """A zero that a client writes with a vast exponent costs no more than another."""
    assert to_minor(Decimal("0e99999999"), "EUR") == 0


def test_the_table_is_the_standard_s() -> None:
    """Each code has the decimal places of ISO 4217; what the standard has beside them is no money in circulation."""
    standard = {each.code: each.exponent for each in Currency}
    assert {code: standard.get(code) for code in PLACES} == PLACES
    funds = {"BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW", "XAD"}
    assert {code for code, places in standard.items() if places is not None} - PLACES.keys() == funds


@pytest.mark.parametrize("code", ["ZZZ", "XXX", "XAU", "eur", "EURO", "", "EU"])
def test_no_currency(code: str) -> None:
    """A code that is no money is refused: unknown, metals, testing, or written otherwise."""
    assert not is_currency(code)

"""Currencies and their minor units (ISO 4217): how many decimal places an amount has, and amounts as whole numbers.

It implements the standard and nothing of the shop, like the chassis's other plumbing for standards; every process that
handles an amount needs the same answer, since 500 JPY are 500 minor units and 500 EUR are 50,000.

Source: ISO 4217 List One (https://www.six-group.com/en/products-services/financial-information/data-standards.html),
the codes of money that is in circulation: funds, precious metals and testing codes are left out. A test compares them
with the package `iso4217`, whose loading (58 ms) each process would pay for.
"""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal, Inexact, localcontext

_PLACES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC
        CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR
        JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD
        NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN
        SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
        """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}
# Amounts are smaller than 10 to the power of this, and larger than its inverse.
_MAX_EXPONENT = 24
PLACES = {code: places for places, codes in _PLACES.items() for code in codes.split()}
"""Code -> decimal places of its amounts."""


def is_currency(code: str) -> bool:
    """Whether money of this code (three capital letters) is in circulation."""
    return code in PLACES


def places_of(code: str) -> int:
    """The decimal places of a currency's amounts; 2 for a code that is none, which only old records can have."""
    return PLACES.get(code, 2)


def to_minor(amount: Decimal, code: str) -> int:
    """An amount as a whole number of the currency's minor units: 5.00 EUR are 500, 5 JPY are 5.

    Nothing is rounded: raises `ValueError` for an amount with more places than the currency has, or that is not
    finite.
    """
    places = places_of(code)
    if not amount:
        return 0
    # Bounds first: an integer of a client's exponent would have that many digits.
    if amount.is_finite() and abs(amount.adjusted()) <= _MAX_EXPONENT:
        with localcontext() as exact, suppress(Inexact):
            exact.traps[Inexact] = True
            minor = amount.scaleb(places)
            if minor == minor.to_integral_value():
                return int(minor)
    raise ValueError(f"{amount} {code} has more than {places} decimal places, or is not an amount")


def from_minor(minor: int, code: str) -> Decimal:
    """An amount with its currency's decimal places."""
    return Decimal(minor).scaleb(-places_of(code))

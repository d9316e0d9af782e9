"""The ERP's formats of numbers and dates; the table is in the package's docstring."""

from __future__ import annotations

from datetime import date, datetime

# As XML Schema patterns too, for the WSDL.
NUMBER = "[0-9]{9}"
SIGNED_NUMBER = "[0-9]{9}-?"
DATE = "[0-9]{8}"
REFERENCE = "[!-~]{1,64}"
ARTICLE_NUMBER = "ART-[0-9]{6}"


def signed_number(value: int) -> str:
    """12 -> `000000012`, -3 -> `000000003-`."""
    return f"{abs(value):09d}{'-' if value < 0 else ''}"


def read_signed_number(text: str) -> int:
    """`000000003-` -> -3."""
    return -int(text[:-1]) if text.endswith("-") else int(text)


def date_text(value: date) -> str:
    """1 February 2004 -> `20040201`."""
    return value.strftime("%Y%m%d")


def read_date(text: str) -> date:
    """`20040201` -> 1 February 2004. Raises `ValueError` for a day that no calendar has."""
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def time_text(value: datetime) -> str:
    """Five past two -> `140500`."""
    return value.strftime("%H%M%S")


def article_number(number: int) -> str:
    """24 -> `ART-000024`."""
    return f"ART-{number:06d}"


def document_number(number: int) -> str:
    """4711 -> `0000004711`."""
    return f"{number:010d}"

"""Cursors come back as they went out, or are refused."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import ShopError
from chassis.pagination import decode_cursor, decode_place, encode_cursor, encode_place, page_size

PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)


def crafted(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@given(st.lists(PRINTABLE, min_size=1, max_size=3))
def test_round_trip(parts: list[str]) -> None:
    """What was put into a cursor comes out of it, and it needs no quoting in a URL."""
    cursor = encode_cursor(*parts)
    assert decode_cursor(cursor, parts=len(parts)) == parts
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text(max_size=600) | st.binary(max_size=300).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_anything_else_is_bad_input(cursor: str) -> None:
    """Whatever a client makes up is either a cursor or INVALID_INPUT that names the field, nothing else."""
    try:
        outcome: list[str] | tuple[str, list[str]] = decode_cursor(cursor, parts=1)
    except ShopError as refusal:
        outcome = (refusal.code, list(refusal.fields))
    assert outcome == ("INVALID_INPUT", ["cursor"]) or len(outcome) == 1


@pytest.mark.parametrize(
    "value", [[], ["a", "b"], [1], [None], [["a"]], {"a": "b"}, "a", 1, None, ["\0"], ["\ud800"], ["a\nb"]]
)
def test_crafted_cursor(value: object) -> None:
    """A well-formed cursor of another shape, or with what no database can hold, is refused."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        decode_cursor(crafted(value), parts=1)


def test_endless_cursor() -> None:
    """A cursor has a longest length."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        decode_cursor(encode_cursor("x" * 1_000), parts=1)


@pytest.mark.parametrize(("wanted", "size"), [(0, 20), (1, 1), (100, 100)])
def test_page_size(wanted: int, size: int) -> None:
    """A page has the size wanted, and twenty where none was said."""
    assert page_size(wanted, limit=100) == size


@pytest.mark.parametrize("wanted", [-1, 101])
def test_page_size_out_of_bounds(wanted: int) -> None:
    """A page of less than nothing or more than the most is bad input."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        page_size(wanted, limit=100)


def test_place_round_trip() -> None:
    """A page that begins after a time and an id; without a cursor it is the first."""
    place = (datetime(2026, 3, 1, 12, tzinfo=UTC), "o1")
    assert decode_place(encode_place(place)) == place
    assert encode_place(None) == ""
    assert decode_place("") is None


@pytest.mark.parametrize(
    "moment", ["", "soon", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-13-01T00:00:00Z"]
)
def test_crafted_place(moment: str) -> None:
    """A time that is none, or none in UTC, is refused before a database fails at it."""
    with pytest.raises(ShopError, match="INVALID_INPUT"):
        decode_place(encode_cursor(moment, "o1"))

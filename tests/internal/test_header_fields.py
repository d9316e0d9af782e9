"""Fields of a request's head: read by the grammar of RFC 9110, and as little work for a hostile one as for any."""

from __future__ import annotations

import pytest

from chassis.http.header_fields import elements, media_weight, weights
from gateway.cache.rules import directives, seconds
from gateway.middleware.compression import coding_for

JSON = "application/json"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("a, b ,c", ["a", "b", "c"]),
        ('a="x, y", b', ['a="x, y"', "b"]),
        (r'a="x\", y", b', ['a="x", y"', "b"]),
        ('a="never closed, b', ['a="never closed, b']),
    ],
)
def test_elements(text: str, expected: list[str]) -> None:
    """RFC 9110, 5.6.1: elements stand between commas, empty ones count for nothing, and quotes keep commas together."""
    assert elements(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gzip, br;q=0.5", {"gzip": 1.0, "br": 0.5}),
        ("GZIP ; Q=0", {"gzip": 0.0}),
        ("gzip;q=0.0, br;q=1.000", {"gzip": 0.0, "br": 1.0}),
        ("a/b;charset=utf-8;q=0.1", {"a/b": 0.1}),
        ("a;q=2, b;q=-1, c;q=0.1234, d;q=x, e;q=, f;q=\u00b2, g;q=1e0, h;q=nan, i", {"i": 1.0}),
    ],
)
def test_weights(text: str, expected: dict[str, float]) -> None:
    """RFC 9110, 12.4.2: a quality has three digits at most and is at most 1; 0 refuses; a malformed one is nothing."""
    assert weights(text) == expected


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (JSON, 1.0),
        ("*/*", 1.0),
        ("application/*;q=0.5, */*", 0.5),
        ("*/*, application/json;q=0", 0.0),
        ("text/html", 0.0),
    ],
)
def test_most_specific_range(accept: str, expected: float) -> None:
    """RFC 9110, 12.5.1: of several ranges, the most specific says how much a type is wanted."""
    assert media_weight(weights(accept), JSON) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('max-age=5, no-cache="a, b", No-Store', {"max-age": "5", "no-cache": "a, b", "no-store": ""}),
        ("a" * 16_000 + "!", {"a" * 16_000 + "!": ""}),
        ("max-age =  5", {"max-age": "5"}),
    ],
)
def test_directives(text: str, expected: dict[str, str]) -> None:
    """RFC 9111, 5.2: directives come with or without an argument, which may be quoted."""
    assert directives(text) == expected


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("5", 5.0), ("9" * 60_000, 2.0**31), ("0" * 60_000 + "7", 7.0), ("-1", None), ("\u00b2", None), ("", None)],
)
def test_seconds_of_any_length(argument: str, expected: float | None) -> None:
    """RFC 9111, 1.2.2: a number too large to represent is taken for 2**31, however many digits it has."""
    assert seconds(argument) == expected


@pytest.mark.parametrize("accept", ["gzip" + " " * 60_000 + "!", "gzip;" * 12_000, "gzip;q=" + "0" * 60_000])
def test_hostile_codings(accept: str) -> None:
    """What no coding could be written as chooses none, in one pass over it."""
    assert coding_for(accept) in ("", "gzip")

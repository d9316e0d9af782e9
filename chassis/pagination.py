"""Pagination cursors: opaque to the client, checked when they are sent back."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime

from chassis.errors import invalid

# Where a page ends: the time and the id of its last item.
Place = tuple[datetime, str]

_MAX_LENGTH = 512
_DEFAULT_SIZE = 20


def encode_cursor(*parts: str) -> str:
    """A cursor that holds these values."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *, parts: int) -> list[str]:
    """The values that a cursor holds. Raises INVALID_INPUT unless it is one of ours."""
    try:
        if len(cursor) > _MAX_LENGTH:
            raise ValueError
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != parts or not all(map(_could_be_ours, values)):
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise invalid("invalid cursor", cursor="take it from next_cursor") from error
    return values


def encode_place(place: Place | None) -> str:
    """The cursor of a page that begins after a time and an id; empty where there is none."""
    return encode_cursor(place[0].isoformat(), place[1]) if place else ""


def decode_place(cursor: str) -> Place | None:
    """The time and the id after which a page begins; None for the first. Raises INVALID_INPUT."""
    if not cursor:
        return None
    moment, identifier = decode_cursor(cursor, parts=2)
    try:
        # In UTC, in which one at the end of the calendar has no place; a database would fail at that.
        return datetime.fromisoformat(moment).astimezone(UTC), identifier
    except (ValueError, OverflowError) as error:
        raise invalid("invalid cursor", cursor="take it from next_cursor") from error


def _could_be_ours(value: object) -> bool:
    # Not printable are, among others, what databases refuse: U+0000 and lone surrogates.
    return isinstance(value, str) and value.isprintable()


def page_size(wanted: int, *, limit: int) -> int:
    """Page size: `wanted`, 20 for 0. Raises INVALID_INPUT when it is out of bounds."""
    if not 0 <= wanted <= limit:
        raise invalid(f"page size must be 1 to {limit}", page_size=f"must be 1 to {limit}")
    return wanted or _DEFAULT_SIZE

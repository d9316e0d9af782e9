"""Lists in Relay's form (Cursor Connections Specification): every row with a cursor of its own.

The REST API shows only where a page ends (`next_cursor`). So a cursor of ours holds where its page began and which of
the page's rows it stands for: `(start, id, trail)`. What comes after it is that page again, from that row on. The row
is found by its id and not by its place, for rows are inserted: the newest orders come first, so a moment later the
first page holds other rows, and the row is further down, or on a later page. Rows are deleted, too: then what comes
after it follows the nearest of the rows that were before it, the `trail`; at worst a row comes twice, and none is left
out. Where a page was used up, its last row's cursor is `(next_cursor, "", "")`, and what comes after it costs one call:
a client that walks on from each `endCursor` pays no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.errors import ShopError, invalid
from chassis.pagination import decode_cursor, encode_cursor
from graphql_server.limits import MAX_PAGE
from graphql_server.loaders import Row

# So many pages are searched for the row of a cursor.
_MAX_SEARCHED_PAGES = 10
# Which rows before a row its cursor remembers, by their distance, and the hexadecimal digits for each.
_TRAIL = (*range(1, 21), 24, 32, 48, 64, 96)
_MARK = 6

# Fetches the page of this size that begins at a cursor of the REST API ("" for the beginning).
FetchPage = Callable[[str, int], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Start of a page of the REST API, and a row of it; without a row, the place before the page's first one."""

    start: str = ""
    row: str = ""
    # Marks of rows before it, the nearest first.
    trail: Sequence[str] = ()

    def encoded(self) -> str:
        return encode_cursor(self.start, self.row, "".join(self.trail))


async def connection(fetch: FetchPage, first: int, after: str | None) -> Row:
    """The `first` rows after a cursor, as a connection's row. Raises INVALID_INPUT for a cursor that leads nowhere."""
    cursor = _decoded(after)
    if cursor.row:
        start, page, place = await _found(fetch, cursor)
    else:
        start, place = cursor.start, 0
        page = await fetch(start, first)
    edges: list[Row] = []
    for _ in range(_MAX_SEARCHED_PAGES):
        rows = page["items"]
        taken = rows[place : place + first - len(edges)]
        edges += [
            {"cursor": _cursor_of(start, rows, each).encoded(), "node": rows[each]}
            for each in range(place, place + len(taken))
        ]
        following = page["next_cursor"]
        used_up = place + len(taken) == len(rows)
        more = not used_up or following is not None
        if used_up and following is not None:
            start, place = following, 0
            if taken:
                edges[-1]["cursor"] = _Cursor(start).encoded()
        if len(edges) == first or not more:
            break
        page = await fetch(start, first - len(edges))
    ends = (edges[0]["cursor"], edges[-1]["cursor"]) if edges else (None, None)
    return {
        "edges": edges,
        "page_info": {
            "has_next_page": more,
            # There was something before, or nothing could come after it.
            "has_previous_page": after is not None,
            "start_cursor": ends[0],
            "end_cursor": ends[1],
        },
    }


async def _found(fetch: FetchPage, cursor: _Cursor) -> tuple[str, dict[str, Any], int]:
    """Position after a cursor's row: a page's start, the page, and the place in it."""
    start, at_its_end = cursor.start, False
    page = begun = await fetch(start, MAX_PAGE)
    for _ in range(_MAX_SEARCHED_PAGES):
        ids = [row["id"] for row in page["items"]]
        if cursor.row in ids:
            return start, page, ids.index(cursor.row) + 1
        if at_its_end:
            return start, page, 0
        marks = [_mark(each) for each in ids]
        nearest = next((marks.index(mark) for mark in cursor.trail if mark in marks), None)
        at_its_end = nearest == len(ids) - 1
        if nearest is not None and not (at_its_end and page["next_cursor"]):
            return start, page, nearest + 1
        if page["next_cursor"] is None:
            # The whole trail is gone as well, and with it, as far as can be known, what was before it.
            return cursor.start, begun, 0
        start = page["next_cursor"]
        page = await fetch(start, MAX_PAGE)
    raise invalid("cursor is out of range", after="start from the first page")


def _cursor_of(start: str, rows: list[Row], place: int) -> _Cursor:
    trail = [_mark(rows[place - distance]["id"]) for distance in _TRAIL if distance <= place]
    return _Cursor(start, rows[place]["id"], trail)


def _mark(row_id: str) -> str:
    """A short name for a row: that another row of a page has it happens once in 6,000 searches for a deleted row."""
    return hashlib.blake2b(row_id.encode(), digest_size=_MARK // 2).hexdigest()


def _decoded(after: str | None) -> _Cursor:
    if after is None:
        return _Cursor()
    try:
        start, row, trail = decode_cursor(after, parts=3)
    except ShopError as error:
        raise invalid("invalid cursor", after="take it from a cursor of this list") from error
    return _Cursor(start, row, [trail[each : each + _MARK] for each in range(0, len(trail), _MARK)])

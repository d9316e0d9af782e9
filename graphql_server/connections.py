"""Lists in Relay's form (Cursor Connections Specification): every row with a cursor of its own.

The REST API tells only where a page ends (`next_cursor`). So a cursor of ours says where its page began and which of
the page's rows it stands for: `(start, id)`. What comes after it is that page again, from that row on. The row is found
by its id and not by its place, for rows are inserted: the newest orders come first, so a moment later the first page
holds other rows, and the row is further down, or on a later page. Where a page was used up, its last row's cursor is
`(next_cursor, "")`, and what comes after it costs one call: a client that walks on from each `endCursor` pays no more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from chassis.cursors import decode_cursor, encode_cursor
from chassis.errors import ShopError, invalid
from graphql_server.limits import LARGEST_PAGE
from graphql_server.loaders import Row

# So many pages are searched for the row of a cursor.
_FARTHEST = 10

# Fetches the page of this size that begins at a cursor of the REST API ("" for the beginning).
FetchPage = Callable[[str, int], Awaitable[dict[str, Any]]]


async def connection(fetch: FetchPage, first: int, after: str | None) -> Row:
    """The `first` rows after a cursor, as a connection's row. Raises INVALID_INPUT for a cursor that leads nowhere."""
    start, sought = _decoded(after)
    edges: list[Row] = []
    for _ in range(_FARTHEST):
        page = await fetch(start, LARGEST_PAGE if sought else first - len(edges))
        rows = page["items"]
        if sought:
            place = next((place for place, row in enumerate(rows) if row["id"] == sought), None)
            rows, sought = ([], sought) if place is None else (rows[place + 1 :], "")
        taken = rows[: first - len(edges)]
        edges += [{"cursor": encode_cursor(start, row["id"]), "node": row} for row in taken]
        following = page["next_cursor"]
        more = len(taken) < len(rows) or following is not None
        if len(taken) == len(rows) and following is not None:
            start = following
            if taken:
                edges[-1]["cursor"] = encode_cursor(start, "")
        if len(edges) == first or not more:
            break
    if sought:
        raise invalid("the row of this cursor is no longer there", after="begin anew")
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


def _decoded(after: str | None) -> tuple[str, str]:
    if after is None:
        return "", ""
    try:
        start, sought = decode_cursor(after, parts=2)
    except ShopError as error:
        raise invalid("the cursor is not one of ours", after="take it from a cursor of this list") from error
    return start, sought

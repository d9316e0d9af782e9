"""E8's table: milliseconds until each client knows, and what its library calls it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from bench.compare.experiments.e8_failure import ANSWER_BYTES, CALLER_TIMEOUT, FAULTS, SHOP_READS
from bench.compare.experiments.shop.lost_answers import WAYS
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import digits, table, variants
from bench.compare.variants import TITLES

# Runs that do not say how many bytes had arrived cut before the first one.
_CUT_BEFORE = "cut before the answer's first byte"
_HEADS = {
    "stopped": "server stopped: ms until known",
    "cut": f"cut after {ANSWER_BYTES} bytes of the answer",
    "silent": f"silent (caller waits {CALLER_TIMEOUT:g} s)",
}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    found = {}
    for name, level, titles in (("e8", "bare", TITLES), ("e8-shop", "shop", SHOP_READS)):
        if own := [each for each in titles if each in variants(rows, "E8", level=level)]:
            found[name] = _table(rows, own, titles)
    if again := rows_of(rows, "E8", kind="sent again"):
        found["e8-orders"] = table(
            [
                "an order whose answer is lost",
                "what the client's library says",
                "sent again, the shop answers",
                "orders",
            ],
            [
                [
                    WAYS[row["variant"]].title,
                    row["error"],
                    "the same order, a repetition" if row["replayed"] else "a new order",
                    row["orders"],
                ]
                for row in again
            ],
        )
    return found


def _table(rows: Sequence[Row], names: Sequence[str], titles: Mapping[str, str]) -> str:
    body = [
        [titles[name], *(_cell(rows_of(rows, "E8", variant=name, kind=fault)) for fault in FAULTS)] for name in names
    ]
    body.append(["**what the client knows**", *FAULTS.values()])
    body.append(["**may it repeat?**", *["a read, or a write with an idempotency key"] * 3])
    inside = all("answer_bytes" in row for name in names for row in rows_of(rows, "E8", variant=name, kind="cut"))
    heads = _HEADS if inside else {**_HEADS, "cut": _CUT_BEFORE}
    return table(["", *heads.values()], body)


def _cell(rows: Sequence[Row]) -> str:
    errors = sorted({str(row["error"]) for row in rows})
    return f"{digits(statistics.median(row['ms'] for row in rows))} ({', '.join(errors)})"


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """No pictures: the table is enough."""
    del rows
    return {}

"""E7's table: the meaning of an answer is first; ways whose answers mean different things are not ranked."""

from __future__ import annotations

from collections.abc import Sequence

from bench.compare.experiments.e7_later import PAYMENT_DELAY_MS, WAYS
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import Measured, digits, measured, table, variants


def tables(rows: Sequence[Row]) -> dict[str, str]:
    names = variants(rows, "E7")
    if not names:
        return {}
    body = []
    for name in WAYS:
        if name in names:
            death = rows_of(rows, "E7", variant=name, kind="death")[0]
            times = [_median(rows, name, "answer_ms"), _effect(rows, name)]
            body.append([WAYS[name][0], death["true_at_answer"], *times, death["kept"]])
    head = [
        "",
        "true when the answer arrives",
        "ms to the answer",
        "ms to the effect",
        "is the work kept when its worker dies?",
    ]
    return {"e7": table(head, body)}


def _effect(rows: Sequence[Row], name: str) -> str:
    """The shop's has a wait in it that is no work."""
    found = str(_median(rows, name, "effect_ms"))
    if name != "shop":
        return found
    # Older runs do not say so; a shop for a benchmark has its settings' defaults.
    delay = rows_of(rows, "E7", variant=name, kind="time")[0].get("payment_delay_ms", PAYMENT_DELAY_MS)
    return f"{found}, of it {digits(delay)} the payment stand-in's delay"


def _median(rows: Sequence[Row], name: str, what: str) -> Measured:
    return measured([row[what] for row in rows_of(rows, "E7", variant=name, kind="time")])


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """No pictures: the table is enough."""
    del rows
    return {}

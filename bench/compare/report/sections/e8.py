"""E8's table: milliseconds until each client knows, and what its library calls it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.compare.experiments.e8_failure import CALLER_TIMEOUT, FAULTS
from bench.compare.measure.folder import Row, rows_of
from bench.compare.report.figures import digits, table, variants
from bench.compare.variants import TITLES

_HEADS = {
    "stopped": "server stopped: ms until known",
    "cut": "cut inside the answer",
    "silent": f"silent (caller waits {CALLER_TIMEOUT:g} s)",
}


def tables(rows: Sequence[Row]) -> dict[str, str]:
    names = [name for name in TITLES if name in variants(rows, "E8")]
    if not names:
        return {}
    body = [
        [TITLES[name], *(_cell(rows_of(rows, "E8", variant=name, kind=fault)) for fault in FAULTS)] for name in names
    ]
    body.append(["**what the client knows**", *FAULTS.values()])
    body.append(["**may it repeat?**", *["a read, or a write with an idempotency key"] * 3])
    return {"e8": table(["", *_HEADS.values()], body)}


def _cell(rows: Sequence[Row]) -> str:
    errors = sorted({str(row["error"]) for row in rows})
    return f"{digits(statistics.median(row['ms'] for row in rows))} ({', '.join(errors)})"


def pictures(rows: Sequence[Row]) -> dict[str, str]:
    """None: the table says it."""
    del rows
    return {}

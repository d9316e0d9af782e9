"""The tour as text: a table for people, aligned columns for a pipe, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

from shop.tour.verdict import Hop, Journey


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under their headings; `numeric` are the columns that are aligned at their right."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int]


def show(journey: Journey, problems: Sequence[str], out: TextIO | None = None) -> None:
    """Print the journey and what was wrong with it; with lines and colours where a person is looking."""
    out = out or sys.stdout
    draw = _rich if out.isatty() else _plain
    out.write(f"order {journey.order_id}: {' -> '.join(journey.events) or 'no event came'}\n\n")
    for table in (
        hop_table(f"The order's journey (trace {journey.order.trace_id})", journey.order.hops),
        total_table("By protocol", journey.order.hops),
        hop_table(f"The GraphQL query (trace {journey.graphql.trace_id})", journey.graphql.hops),
    ):
        draw(table, out)
    if not problems:
        out.write(f"{len(journey.order.hops)} hops, all as they should be.\n")
    for problem in problems:
        out.write(f"PROBLEM {problem}\n")


def hop_table(title: str, hops: Sequence[Hop]) -> Table:
    """One line for each hop. `out` and `back` are bytes as seen from the left side."""
    rows = [
        (
            str(number),
            f"+{hop['offset_ms']:.1f}",
            hop["protocol"],
            hop["from"],
            hop["to"],
            _operation(hop),
            f"{hop['duration_ms']:.1f}",
            _bytes(hop["bytes_sent"]),
            _bytes(hop["bytes_received"]),
        )
        for number, hop in enumerate(hops, 1)
    ]
    headings = ("#", "at ms", "protocol", "from", "to", "what", "took ms", "out B", "back B")
    return Table(title, headings, rows, frozenset({0, 1, 6, 7, 8}))


def total_table(title: str, hops: Sequence[Hop]) -> Table:
    """One line for each protocol, in the order of its first hop."""
    by_protocol: dict[str, list[Hop]] = defaultdict(list)
    for hop in hops:
        by_protocol[hop["protocol"]].append(hop)
    rows = [
        (
            protocol,
            str(len(of_it)),
            f"{sum(hop['duration_ms'] for hop in of_it):.1f}",
            str(sum(hop["bytes_sent"] or 0 for hop in of_it)),
            str(sum(hop["bytes_received"] or 0 for hop in of_it)),
        )
        for protocol, of_it in by_protocol.items()
    ]
    return Table(title, ("protocol", "hops", "took ms", "out B", "back B"), rows, frozenset({1, 2, 3, 4}))


def as_json(journey: Journey, problems: Sequence[str]) -> str:
    """Everything, for programs."""
    content = {
        "order_id": journey.order_id,
        "events": list(journey.events),
        "trace_id": journey.order.trace_id,
        "hops": list(journey.order.hops),
        "graphql": {
            "trace_id": journey.graphql.trace_id,
            "hops": list(journey.graphql.hops),
            "answer": journey.answer,
        },
        "problems": list(problems),
    }
    return json.dumps(content, indent=2) + "\n"


def _operation(hop: Hop) -> str:
    """What was done: without the package that gRPC puts before a service, with the queue that an event went through."""
    text = str(hop["operation"])
    if hop["protocol"] == "gRPC":
        service, _, method = text.rpartition("/")
        text = f"{service.rpartition('.')[2]}/{method}"
    if hop["queue"]:
        text += f" (by {hop['queue']}, waited {hop['waiting_ms']:.1f} ms)"
    if (hop["attempt"] or 1) > 1:
        text += f", attempt {hop['attempt']}"
    if hop["error"]:
        # Its code is enough here: the whole of it is told below, with the problems.
        text += f" FAILED: {str(hop['error']).partition(':')[0]}"
    return text


def _bytes(count: int | None) -> str:
    return "-" if count is None else str(count)


def _plain(table: Table, out: TextIO) -> None:
    lines = [table.headings, *table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(table.headings))]
    out.write(f"{table.title}\n")
    for line in lines:
        cells = (
            cell.rjust(width) if column in table.numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        out.write("  ".join(cells).rstrip() + "\n")
    out.write("\n")


def _rich(table: Table, out: TextIO) -> None:
    # Imported here: a pipe, which gets plain text, need not wait for it.
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=table.title, title_justify="left")
    for column, heading in enumerate(table.headings):
        numeric = column in table.numeric
        drawn.add_column(heading, justify="right" if numeric else "left", no_wrap=numeric)
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    Console(file=out).print(drawn)

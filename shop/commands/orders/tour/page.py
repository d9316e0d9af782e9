"""The tour as text that fits 80 columns, or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, TextIO

from shop.commands.orders.tour.verdict import Hop, Journey

WIDTH = 80
LEGEND = """\
at    ms since the order was sent    took  ms, without the time in a queue
out   bytes from the left side       back  bytes of the answer, if there is one
queue a work queue: one consumer takes each event, and acknowledges it
log   the event log: every reader reads each event
broker  published, and no queue is bound to it
"""
_EVENT_LOG = "event-log"
_THROUGH_THE_BROKER = ("queue", "AMQP", "Kafka")


class Page:
    """Prints hops as they arrive, each once, and the summary at the end."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._shown: set[tuple[Any, ...]] = set()

    def head(self, title: str) -> None:
        """The next line to show, and the columns."""
        self._out.write(f"{title}\n{'at':>6}  {'by':<9} {'from > to: what':<41}{'took':>6} {'out':>6} {'back':>6}\n")

    def legend(self) -> None:
        self._out.write(f"{LEGEND}\n")

    def hop(self, hop: Hop) -> None:
        """Print a hop that has ended, unless it was shown before."""
        key = (hop["protocol"], hop["from"], hop["to"], hop["operation"], hop["queue"], hop["offset_ms"])
        if key not in self._shown:
            self._shown.add(key)
            self._out.write("".join(f"{line}\n" for line in hop_lines(hop)))
            self._out.flush()

    def rest(self, hops: Sequence[Hop]) -> None:
        """Print the hops that were too late to be shown one by one."""
        for hop in hops:
            self.hop(hop)

    def end(self, journey: Journey, problems: Sequence[str], notes: Sequence[str]) -> None:
        """Totals by protocol, and the verdict."""
        self._out.write(f"\norder {journey.order_id}:\n  {' -> '.join(journey.events) or 'no event came'}\n")
        self._out.write("".join(f"  {line}\n" for line in total_lines(journey.order.hops)))
        for note in notes:
            self._out.write(f"{note}\n")
        for problem in problems:
            self._out.write(f"PROBLEM {problem}\n")
        if not problems:
            self._out.write(f"{len(journey.order.hops)} hops, all as they should be.\n")
        self._out.write(f"Its trace: shop trace {journey.order.trace_id}\n")


def hop_lines(hop: Hop) -> list[str]:
    """A hop in one line of 80 columns, or in two."""
    start = f"{hop['offset_ms']:>6.0f}  {via(hop):<9} "
    figures = f"{hop['duration_ms']:>6.0f} {_bytes(hop['bytes_sent']):>6} {_bytes(hop['bytes_received']):>6}"
    ends = f"{hop['from']} > {hop['to']}:"
    room = WIDTH - len(start) - len(figures)
    text = f"{ends} {_operation(hop)}"
    more = _more(hop)
    lines = [f"{start}{text:<{room}}{figures}"] if len(text) < room else [f"{start}{ends:<{room}}{figures}"]
    following = [more] if len(text) < room else [_operation(hop), more]
    indent = " " * len(start)
    return [*lines, *(f"{indent}{each}"[:WIDTH] for each in following if each)]


def via(hop: Hop) -> str:
    """The protocol; of what goes through the broker, whether by a work queue or by the log, or to no consumer."""
    if hop["protocol"] not in _THROUGH_THE_BROKER:
        return str(hop["protocol"])
    if not hop["queue"]:
        return "broker"
    return "log" if hop["queue"] == _EVENT_LOG else "queue"


def total_lines(hops: Sequence[Hop]) -> list[str]:
    """One line for each protocol, in the order of its first hop."""
    by_protocol: dict[str, list[Hop]] = defaultdict(list)
    for hop in hops:
        by_protocol[via(hop)].append(hop)
    head = f"{'by':<9} {'hops':>5} {'took ms':>8} {'out B':>7} {'back B':>7}"
    return [
        head,
        *(
            f"{name:<9} {len(of_it):>5} {sum(hop['duration_ms'] for hop in of_it):>8.0f} "
            f"{sum(hop['bytes_sent'] or 0 for hop in of_it):>7} {sum(hop['bytes_received'] or 0 for hop in of_it):>7}"
            for name, of_it in by_protocol.items()
        ),
    ]


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
    """Name of an operation; of a gRPC method without its package."""
    text = str(hop["operation"])
    if hop["protocol"] == "gRPC":
        service, _, method = text.rpartition("/")
        text = f"{service.rpartition('.')[2]}/{method}"
    return text


def _more(hop: Hop) -> str:
    """The second line of a hop, if any: the queue, the wait in it, a repeat, a refusal."""
    facts = []
    if hop["queue"]:
        facts.append(f"by {hop['queue']}, waited {hop['waiting_ms']:.0f} ms")
    if (hop["attempt"] or 1) > 1:
        facts.append(f"attempt {hop['attempt']}")
    if hop["error"]:
        # Its code is enough here: the whole of it is below, with the problems.
        facts.append(f"refused: {str(hop['error']).partition(':')[0]}")
    return "; ".join(facts)


def _bytes(count: int | None) -> str:
    return "-" if count is None else str(count)

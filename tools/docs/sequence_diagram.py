"""Hops of traces as a Mermaid sequence diagram. Pure functions: the same hops in any order draw the same."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

_ID = re.compile(r"\b[0-9a-f]{32}\b")
# What happens in the first order of a process only, what no queue takes, and what depends on the connected clients.
_LEFT_OUT = ("SOAP Login", "GetJwks", "GetUsers", "IssueServiceToken")
_NOT_SHOWN = {"broker", "notifier"}
# They have one outbox: either publishes what the other has written.
_SHARING = {"orders", "order_worker"}


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop; a message that goes to several queues is several hops with one id."""

    id: str
    parent: str
    offset: float
    protocol: str
    origin: str
    target: str
    operation: str
    queue: str
    error: str

    @classmethod
    def of(cls, hop: Mapping[str, Any]) -> Hop:
        """A hop from the console's JSON."""
        return cls(
            hop["id"],
            hop["parent"] or "",
            hop["offset_ms"],
            hop["protocol"],
            hop["from"],
            hop["to"],
            _ID.sub("{id}", hop["operation"]),
            hop["queue"] or "",
            hop["error"] or "",
        )

    @property
    def is_message(self) -> bool:
        """Whether no caller waits for what it sets off."""
        return bool(self.queue) or self.protocol == "webhook"

    @property
    def label(self) -> str:
        if self.queue:
            return f"{self.queue}: {self.operation}"
        short = self.operation.rpartition(".")[2].rpartition("/")[2] if self.protocol == "gRPC" else self.operation
        return short if short.startswith(self.protocol) else f"{self.protocol} {short}"

    @property
    def arrow(self) -> tuple[str, str, str]:
        return self.origin, self.target, self.label


def diagram(traces: Sequence[Sequence[Hop]]) -> str:
    """The traces one after the other in one diagram."""
    arrows: list[str] = []
    participants: dict[str, None] = {}
    for published in traces:
        trace = [_from_its_writer(hop, published) for hop in published]
        failed = {hop.arrow: hop.error.partition(":")[0].split()[0] for hop in trace if hop.error}
        for hop in in_order(trace):
            participants |= dict.fromkeys((hop.origin, hop.target))
            reason = failed.get(hop.arrow, "")
            again = f" (fails: {reason})" if reason else ""
            arrows.append(f"    {hop.origin}{'-)' if hop.is_message else '->>'}{hop.target}: {hop.label}{again}\n")
    listed = "".join(f"    participant {name}\n" for name in participants)
    return f"sequenceDiagram\n{listed}{''.join(arrows)}"


def in_order(trace: Sequence[Hop]) -> Iterator[Hop]:
    """Each arrow once: calls as they follow each other, then what was set off, in the order of its setting off."""
    shown = [hop for hop in trace if not _left_out(hop)]
    ids = {hop.id for hop in shown}
    waiting = deque(_sorted([hop for hop in shown if hop.parent not in ids]))
    seen: dict[tuple[str, str, str], set[tuple[str, str, str]]] = {}
    while waiting:
        first = waiting.popleft()
        yield from _episode(first, shown, waiting, seen.setdefault(first.arrow, set()))


def _episode(hop: Hop, trace: Sequence[Hop], waiting: deque[Hop], seen: set[tuple[str, str, str]]) -> Iterator[Hop]:
    """A hop and all that is waited for within it. A repeat within it is not drawn, but what that has set off is."""
    if hop.arrow not in seen:
        seen.add(hop.arrow)
        yield hop
    # Of a message to several queues each consumer has its own continuation.
    shared = any(other.id == hop.id and other.target != hop.target for other in trace)
    next_ones = [other for other in trace if other.parent == hop.id and (not shared or other.origin == hop.target)]
    for each in _sorted(next_ones):
        if each.is_message:
            waiting.append(each)
        else:
            yield from _episode(each, trace, waiting, seen)


def _from_its_writer(hop: Hop, trace: Sequence[Hop]) -> Hop:
    """A message as one of the process that wrote its event, whichever of those with one outbox has published it."""
    writers = {other.target for other in trace if other.id == hop.parent}
    if hop.queue and hop.origin in _SHARING - writers:
        return next((replace(hop, origin=writer) for writer in _SHARING & writers), hop)
    return hop


def _sorted(hops: list[Hop]) -> list[Hop]:
    return sorted(hops, key=lambda hop: (hop.offset, hop.queue))


def _left_out(hop: Hop) -> bool:
    return not _NOT_SHOWN.isdisjoint((hop.origin, hop.target)) or hop.operation.endswith(_LEFT_OUT)

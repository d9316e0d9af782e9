"""Hops of a trace, from its spans: each time something went from one process to another, as one line. Pure.

The two sides of a boundary have a span each; a hop is both together. Where one side sends no spans (a browser, a mail
server elsewhere), the other side's are used alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from console.domain import NS_PER_MS, Captured, CodePlace, Kind, Span, by_start
from console.notes import attempt_of, failed, note_of, replayed

OUTSIDE = "client"
EVENT_LOG = "event-log"
BROKER = "broker"
# AMQP, and the embedded broker's queues.
QUEUES = ("AMQP", "queue")
# Of an event log that is not the broker's own.
KAFKA = "Kafka"
_RECEIVING = (Kind.SERVER, Kind.CONSUMER)


class HopKind(StrEnum):
    """The kind of a hop: a request and its response, an event or mail, or something from outside."""

    CALL = "call"
    MESSAGE = "message"
    ARRIVAL = "arrival"


class State(StrEnum):
    """The state of a hop."""

    FLYING = "flying"
    LANDED = "landed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Hop:
    """One crossing of a boundary, seen from the side of `origin`.

    Times are milliseconds, `offset_ms` since the trace began. `queue`, `waiting_ms` (from being published to being
    taken) and `attempt` are only there for what went through the broker; its `duration_ms` is how long the consumer
    worked. `error` is empty when all went well.

    `id` names it within its trace: the calling span, and for an event the taking one too, since several take it; until
    then the event's hop to the broker has the publishing span's alone. `parent` is the hop in whose work this one
    began, and `links` are those that it has to do with otherwise; `note` is what else is known of it.

    `sent` and `received` are what `origin` kept, or `target` where `origin` has no span; `taken` and `answered` are
    the same as `target` kept them, where both sides captured it.
    """

    span_id: str
    offset_ms: float
    protocol: str
    origin: str
    target: str
    operation: str
    duration_ms: float
    bytes_sent: int | None
    bytes_received: int | None
    error: str
    queue: str = ""
    waiting_ms: float | None = None
    attempt: int | None = None
    id: str = ""
    kind: HopKind = HopKind.CALL
    state: State = State.LANDED
    parent: str | None = None
    links: tuple[str, ...] = ()
    note: str = ""
    code_origin: CodePlace | None = None
    code_target: CodePlace | None = None
    sent: Captured | None = None
    received: Captured | None = None
    taken: Captured | None = None
    answered: Captured | None = None
    method: str = ""


def hops(spans: Iterable[Span]) -> list[Hop]:
    """The hops of one trace, in the order in which they began."""
    ordered = by_start(spans)
    if not ordered:
        return []
    began = ordered[0].started_ns
    present = {span.span_id: span for span in ordered}
    answers: Mapping[str, list[Span]] = defaultdict(list)
    for span in ordered:
        parent = present.get(span.parent_id)
        if parent is not None and _crosses(parent, span):
            answers[parent.span_id].append(span)
    sides = [
        side for span in ordered for side in _sides(span, present.get(span.parent_id), answers.get(span.span_id, ()))
    ]
    relations = _Relations(sides, present)
    return [_hop(side, began, relations.of(number, side)) for number, side in enumerate(sides)]


@dataclass(frozen=True, slots=True)
class _Sides:
    """The spans of a hop: the sender's and the receiver's, where they exist; `tries` counts the answers."""

    kind: HopKind
    sender: Span | None
    receiver: Span | None
    id: str
    spans: tuple[Span, ...]
    tries: int = 1

    @property
    def first(self) -> Span:
        return self.spans[0]


def _both(kind: HopKind, sender: Span, receiver: Span | None, tries: int = 1) -> _Sides:
    if receiver is None:
        return _Sides(kind, sender, None, sender.span_id, (sender,), tries)
    own = f"{sender.span_id}-{receiver.span_id}" if kind is HopKind.MESSAGE else sender.span_id
    return _Sides(kind, sender, receiver, own, (sender, receiver), tries)


class _Related(NamedTuple):
    """The relations of a hop to others: its `Hop.parent` and `Hop.links`, and a note that goes before its own."""

    parent: str | None
    links: tuple[str, ...]
    note: str


def _crosses(parent: Span, span: Span) -> bool:
    """Whether the span is the far side of its parent."""
    if parent.kind is Kind.CLIENT:
        return span.kind is Kind.SERVER
    # Who reads the event log needs no consumer's span of its own: passing on what it read is its first.
    return parent.kind is Kind.PRODUCER and (span.kind is Kind.CONSUMER or span.service != parent.service)


def _sides(span: Span, parent: Span | None, answers: Sequence[Span]) -> Iterator[_Sides]:
    """The hops that begin with this span."""
    if span.kind is Kind.PRODUCER and answers:
        for answer in answers:
            yield _both(HopKind.MESSAGE, span, answer)
    elif span.kind is Kind.PRODUCER:
        yield _both(HopKind.MESSAGE, span, None)
    elif span.kind is Kind.CLIENT:
        # A call that gRPC has retried has several answers, and the last one counts.
        yield _both(HopKind.CALL, span, answers[-1] if answers else None, max(1, len(answers)))
    elif span.kind in _RECEIVING and (parent is None or not _crosses(parent, span)):
        yield _Sides(HopKind.ARRIVAL, None, span, span.span_id, (span,))


def _hop(sides: _Sides, began: int, related: _Related) -> Hop:
    sender, receiver = sides.sender, sides.receiver
    if sender is None:
        assert receiver is not None  # noqa: S101 - as above
        return _arrival(receiver, began, related)
    if sides.kind is HopKind.MESSAGE and receiver is not None:
        return _message(sender, receiver, began, related)
    return _call(sides, sender, receiver, began, related)


def _call(sides: _Sides, sender: Span, receiver: Span | None, began: int, related: _Related) -> Hop:
    # Measured by the caller; the other side's figures are the same bytes the other way round.
    sent, received = sender.bytes_sent, sender.bytes_received
    if receiver is not None:
        sent = receiver.bytes_received if sent is None else sent
        received = receiver.bytes_sent if received is None else received
    return Hop(
        id=sides.id,
        kind=sides.kind,
        span_id=sender.span_id,
        offset_ms=_ms(sender.started_ns - began),
        protocol=sender.protocol or (receiver.protocol if receiver else ""),
        origin=sender.service,
        target=receiver.service if receiver else _untaken(sender),
        operation=_operation(sender),
        duration_ms=sender.duration_ms,
        bytes_sent=sent,
        bytes_received=received,
        error=sender.error or (receiver.error if receiver else ""),
        state=_state(sender.under_way, sides.spans),
        attempt=attempt_of(sides.spans, sides.tries),
        parent=related.parent,
        links=related.links,
        note=related.note or note_of(sides.spans, sides.tries),
        code_origin=sender.code,
        code_target=receiver.code if receiver else None,
        sent=sender.sent or (receiver.received if receiver else None),
        received=sender.received or (receiver.sent if receiver else None),
        taken=receiver.received if receiver and sender.sent else None,
        answered=receiver.sent if receiver and sender.received else None,
        method=sender.method or (receiver.method if receiver else ""),
    )


def _operation(span: Span) -> str:
    """The operation, or the destination of a message; of an event its type, wherever it went."""
    return span.text("cloudevents.event_type") or span.text("messaging.destination.name") or span.name


def _untaken(sender: Span) -> str:
    """The receiver of a call or message whose other side has no span: an event is with the broker until it is taken."""
    queued = sender.kind is Kind.PRODUCER and sender.protocol in (*QUEUES, KAFKA)
    return BROKER if queued else sender.peer or "unknown"


def _message(published: Span, taken: Span, began: int, related: _Related) -> Hop:
    processed = taken.kind is Kind.CONSUMER
    counted = (published, taken) if processed else (published,)
    return Hop(
        id=f"{published.span_id}-{taken.span_id}",
        kind=HopKind.MESSAGE,
        span_id=taken.span_id,
        offset_ms=_ms(published.started_ns - began),
        protocol=published.protocol,
        origin=published.service,
        target=taken.service,
        operation=_operation(published),
        duration_ms=taken.duration_ms if processed else published.duration_ms,
        bytes_sent=published.bytes_sent,
        bytes_received=None,
        error=published.error or (taken.error if processed else ""),
        queue=taken.text("messaging.destination.name") if processed else EVENT_LOG,
        waiting_ms=_ms(max(0, taken.started_ns - published.started_ns)),
        attempt=taken.number("shop.attempt") if processed else None,
        state=_state(processed and taken.under_way, counted),
        parent=related.parent,
        links=related.links,
        note=related.note or note_of(counted),
        code_origin=published.code,
        code_target=taken.code,
        sent=published.sent,
        received=taken.received if processed else None,
    )


def _arrival(span: Span, began: int, related: _Related) -> Hop:
    """Hops from processes that send us no spans, or not these."""
    return Hop(
        id=span.span_id,
        kind=HopKind.ARRIVAL,
        span_id=span.span_id,
        offset_ms=_ms(span.started_ns - began),
        protocol=span.protocol,
        origin=OUTSIDE if span.kind is Kind.SERVER else span.text("messaging.system") or "broker",
        target=span.service,
        operation=span.name,
        duration_ms=span.duration_ms,
        bytes_sent=span.bytes_received,
        bytes_received=span.bytes_sent,
        error=span.error,
        state=_state(span.under_way, (span,)),
        attempt=span.number("shop.attempt"),
        parent=related.parent,
        links=related.links,
        note=related.note or note_of((span,)),
        code_target=span.code,
        sent=span.received,
        received=span.sent,
        method=span.method,
    )


def _state(under_way: bool, spans: Sequence[Span]) -> State:
    if under_way:
        return State.FLYING
    return State.FAILED if any(failed(span) for span in spans) else State.LANDED


class _Relations:
    """Relations of hops: the hop in whose work one began, the one it is linked to, the ones that were requeued."""

    def __init__(self, sides: Sequence[_Sides], present: Mapping[str, Span]) -> None:
        self._present = present
        # The far side of each hop -> the hop.
        self._work = {side.receiver.span_id: side.id for side in sides if side.receiver is not None}
        self._of_span = {span.span_id: side.id for side in reversed(sides) for span in reversed(side.spans)}
        self._again = replayed([side.spans for side in sides])

    def of(self, number: int, side: _Sides) -> _Related:
        """The relations of the hop with this number."""
        note = "dead_letter_replay" if number in self._again else ""
        return _Related(self._parent(side), tuple(self._linked(side)), note)

    def _parent(self, side: _Sides) -> str | None:
        span: Span | None = side.first
        seen: set[str] = set()
        while span is not None and span.span_id not in seen:
            within = self._work.get(span.span_id)
            if within is not None and within != side.id:
                return within
            seen.add(span.span_id)
            span = self._present.get(span.parent_id)
        return None

    def _linked(self, side: _Sides) -> Iterator[str]:
        for span in side.spans:
            for link in span.links:
                if link in self._of_span:
                    yield self._of_span[link]


def _ms(nanoseconds: int) -> float:
    return nanoseconds / NS_PER_MS

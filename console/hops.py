"""From a trace's spans to its hops: each time something went from one process to another, as one line. Pure.

The two sides of a boundary have a span each; a hop is both together. Where one side tells no spans (the browser, the
ERP, a mail server), the other one's word is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from console.domain import NS_PER_MS, Kind, Span, by_start

OUTSIDE = "client"
_ASKING = (Kind.CLIENT, Kind.PRODUCER)
_ANSWERING = (Kind.SERVER, Kind.CONSUMER)


@dataclass(frozen=True, slots=True)
class Hop:
    """One crossing of a boundary, told from the side of `origin`.

    Times are milliseconds, `offset_ms` since the trace began. `queue`, `waiting_ms` (from being published to being
    taken) and `attempt` are only there for what went through the broker; its `duration_ms` is how long the consumer
    worked. `error` is empty when all went well.
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
    return [hop for span in ordered for hop in _of(span, present.get(span.parent_id), answers[span.span_id], began)]


def _crosses(parent: Span, span: Span) -> bool:
    """Whether the span is the far side of its parent."""
    if parent.kind is Kind.CLIENT:
        return span.kind is Kind.SERVER
    # Who reads the event log needs no consumer's span of its own: passing on what it read is its first.
    return parent.kind is Kind.PRODUCER and (span.kind is Kind.CONSUMER or span.service != parent.service)


def _of(span: Span, parent: Span | None, answers: Sequence[Span], began: int) -> Iterator[Hop]:
    """The hops that begin with this span."""
    if span.kind is Kind.PRODUCER and answers:
        for answer in answers:
            yield _message(span, answer, began)
    elif span.kind in _ASKING:
        # A call that gRPC has retried has several answers, and the last one counts.
        yield _call(span, answers[-1] if answers else None, began)
    elif span.kind in _ANSWERING and (parent is None or not _crosses(parent, span)):
        yield _arrival(span, began)


def _call(asking: Span, answering: Span | None, began: int) -> Hop:
    # Measured where it was asked; the other side's figures are the same bytes the other way round.
    sent, received = asking.bytes_sent, asking.bytes_received
    if answering is not None:
        sent = answering.bytes_received if sent is None else sent
        received = answering.bytes_sent if received is None else received
    return Hop(
        span_id=asking.span_id,
        offset_ms=_ms(asking.started_ns - began),
        protocol=asking.protocol or (answering.protocol if answering else ""),
        origin=asking.service,
        target=answering.service if answering else asking.peer or "unknown",
        operation=asking.text("messaging.destination.name") or asking.name,
        duration_ms=asking.duration_ms,
        bytes_sent=sent,
        bytes_received=received,
        error=asking.error or (answering.error if answering else ""),
    )


def _message(published: Span, taken: Span, began: int) -> Hop:
    processed = taken.kind is Kind.CONSUMER
    return Hop(
        span_id=taken.span_id,
        offset_ms=_ms(published.started_ns - began),
        protocol=published.protocol,
        origin=published.service,
        target=taken.service,
        operation=published.text("messaging.destination.name") or published.name,
        duration_ms=taken.duration_ms if processed else published.duration_ms,
        bytes_sent=published.bytes_sent,
        bytes_received=None,
        error=published.error or (taken.error if processed else ""),
        queue=taken.text("messaging.destination.name") if processed else "event-log",
        waiting_ms=_ms(max(0, taken.started_ns - published.started_ns)),
        attempt=taken.number("shop.attempt") if processed else None,
    )


def _arrival(span: Span, began: int) -> Hop:
    """What came from where nobody tells us spans, or not these."""
    return Hop(
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
    )


def _ms(nanoseconds: int) -> float:
    return nanoseconds / NS_PER_MS

"""Notes on a hop, beyond its span's status: refused, retried, answered from an earlier result, requeued. Pure.

The code's own note ("shop.note") comes first; the rest follows from what the spans hold.
"""

from __future__ import annotations

from collections.abc import Sequence

from console.domain import Kind, Span

REFUSED, WEBHOOK_REFUSED, RETRY, DEAD_LETTER = "refused", "webhook_refused", "retry", "dead_letter"
_NOT_FOUND = 404


def failed(span: Span) -> bool:
    """Whether what the span stands for did not succeed."""
    return bool(span.error) or span.http_status >= 400


def attempt_of(spans: Sequence[Span], tries: int = 1) -> int | None:
    """The number of the attempt, if attempts are counted."""
    attempts = [span.number("shop.attempt") for span in spans]
    return next((number for number in attempts if number is not None), tries if tries > 1 else None)


def note_of(spans: Sequence[Span], tries: int = 1) -> str:
    """The note of a hop with these sides; empty for none."""
    for span in spans:
        if span.note and span.note != REFUSED:
            return span.note
    if any(_refused(span) for span in spans):
        return WEBHOOK_REFUSED if any(span.protocol == "webhook" for span in spans) else REFUSED
    return RETRY if (attempt_of(spans, tries) or 1) > 1 else ""


def replayed(hops: Sequence[Sequence[Span]]) -> set[int]:
    """Hops (lists of spans) that are an event's first attempt after it was a dead letter of that queue."""
    dead: set[tuple[str, str]] = set()
    found: set[int] = set()
    for number, spans in enumerate(hops):
        taken = spans[-1]
        if taken.kind is not Kind.CONSUMER:
            continue
        where = (taken.text("messaging.destination.name"), taken.text("messaging.message.id"))
        if where in dead and taken.number("shop.attempt") == 1:
            found.add(number)
            dead.discard(where)
        if taken.note == DEAD_LETTER:
            dead.add(where)
    return found


def _refused(span: Span) -> bool:
    return span.note == REFUSED or (400 <= span.http_status < 500 and span.http_status != _NOT_FOUND)

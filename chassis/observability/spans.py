"""A span that is recorded, cheaper than the SDK's and readable by all that reads the SDK's.

The SDK's span takes a lock and checks each attribute whenever it is touched, and keeps them in dictionaries with
bounds: 43 us for a span with eight attributes, of which an order would pay seventy.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes, AttributeValue

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET = Status()
# Not OpenTelemetry's own context: that copies a dictionary for each span, and no other library reads it here.
CURRENT: ContextVar[Span] = ContextVar("span", default=INVALID_SPAN)


def current_span() -> Span:
    """The span that we are in; an invalid one outside any."""
    return CURRENT.get()


def new_trace_id() -> int:
    return random.getrandbits(128) or 1  # nosec B311 # an id, which is no secret


def new_span_id() -> int:
    return random.getrandbits(64) or 1  # nosec B311 # an id, which is no secret


class RecordedSpan(ReadableSpan, Span):
    """A span that belongs to one event loop; another thread may read it. Changes after its end are ignored."""

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        origin: SpanContext,
        attributes: dict[str, AttributeValue],
        *,
        resource: Resource,
        scope: InstrumentationScope,
        ended: Callable[[RecordedSpan], None],
    ) -> None:
        """`origin`: the parent's context, an invalid one for a trace's first span. `ended` is called at its end."""
        # Not the base's: that makes a resource anew. The names of the fields are the base's.
        known = origin.is_valid
        self._name = name
        self._kind = kind
        self._own_context = self._context = SpanContext(
            origin.trace_id if known else new_trace_id(),
            new_span_id(),
            is_remote=False,
            trace_flags=_SAMPLED,
            trace_state=origin.trace_state,
        )
        self._parent = origin if known else None
        self._attributes: dict[str, AttributeValue] = attributes
        self._events: list[Event] = []
        self._links = ()
        self._status = _UNSET
        self._resource = resource
        self._instrumentation_info = None
        self._instrumentation_scope = scope
        self._end_time: int | None = None
        self._ended = ended
        self._start_time = time.time_ns()

    def get_span_context(self) -> SpanContext:
        return self._own_context

    def is_recording(self) -> bool:
        return self._end_time is None

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if self._end_time is None:
            self._attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        if self._end_time is None:
            self._attributes.update(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        if self._end_time is None:
            self._events.append(Event(name, attributes, timestamp))

    def update_name(self, name: str) -> None:
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        if self._end_time is None:
            self._status = status if isinstance(status, Status) else Status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002, FBT002 - OpenTelemetry's shape
    ) -> None:
        facts = {"exception.type": type(exception).__name__, "exception.message": str(exception), **(attributes or {})}
        self.add_event("exception", facts, timestamp)

    def end(self, end_time: int | None = None) -> None:
        if self._end_time is None:
            self._end_time = end_time or time.time_ns()
            self._ended(self)

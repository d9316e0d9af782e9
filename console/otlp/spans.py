"""Spans from OTLP's messages (opentelemetry-proto 1.x, `ExportTraceServiceRequest`). Pure."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Iterable, Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from chassis.observability.capture.capture import RECEIVED, SENT
from chassis.observability.capture.messages import KEPT_BYTES
from console.domain import AttributeValue, Captured, Kind, Span

TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
UNNAMED_SERVICE = "unknown_service"
# Characters of an attribute's name.
_MAX_NAME = 256

_KINDS = {
    trace_pb2.Span.SPAN_KIND_SERVER: Kind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: Kind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: Kind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: Kind.CONSUMER,
}


def spans_of(request: ExportTraceServiceRequest) -> tuple[list[Span], int]:
    """The spans of an export request, and how many of it had to be left out for want of valid ids."""
    spans: list[Span] = []
    invalid_spans = 0
    for service, message in _messages(request):
        # Ids of the right length that are not all zero (W3C Trace Context, section 3.2.2).
        ids = (message.trace_id, TRACE_ID_BYTES), (message.span_id, SPAN_ID_BYTES)
        if all(len(each) == size and any(each) for each, size in ids):
            spans.append(_span(service, message))
        else:
            invalid_spans += 1
    return spans, invalid_spans


def accepted(unidentified: int, refused: int) -> ExportTraceServiceResponse:
    """The answer; spans that were not kept are counted in OTLP's partial success, which a sender must not repeat."""
    response = ExportTraceServiceResponse()
    if unidentified or refused:
        response.partial_success.rejected_spans = unidentified + refused
        response.partial_success.error_message = (
            f"{unidentified} spans have no valid ids, {refused} belong to traces that are full"
        )
    return response


def _messages(request: ExportTraceServiceRequest) -> Iterator[tuple[str, trace_pb2.Span]]:
    for of_resource in request.resource_spans:
        service = str(attributes_of(of_resource.resource.attributes).get("service.name") or UNNAMED_SERVICE)
        for of_scope in of_resource.scope_spans:
            for message in of_scope.spans:
                yield sys.intern(service), message


def _span(service: str, message: trace_pb2.Span) -> Span:
    attributes = attributes_of(message.attributes)
    # The first of each: what was tried again is the same.
    captured = {event.name: _captured(event) for event in reversed(message.events) if event.name in (SENT, RECEIVED)}
    failed = message.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    why = message.status.message or str(attributes.get("error.type") or "failed")
    return Span(
        trace_id=message.trace_id.hex(),
        span_id=message.span_id.hex(),
        parent_id=message.parent_span_id.hex(),
        service=service,
        name=message.name,
        kind=_KINDS.get(message.kind, Kind.INTERNAL),
        started_ns=message.start_time_unix_nano,
        ended_ns=message.end_time_unix_nano,
        error=why if failed else "",
        attributes=attributes,
        links=tuple(link.span_id.hex() for link in message.links),
        sent=captured.get(SENT),
        received=captured.get(RECEIVED),
    )


def _captured(event: trace_pb2.Span.Event) -> Captured | None:
    """A message that the chassis has captured; None when what claims to be one is not."""
    facts = attributes_of(event.attributes)
    content, size = facts.get("capture.bytes"), facts.get("capture.size")
    try:
        kept = b64decode(str(content), validate=True)
    except ValueError:
        return None
    if not isinstance(size, int) or len(kept) > min(size, KEPT_BYTES):
        return None
    return Captured(str(facts.get("capture.form", "")), kept, size, str(facts.get("capture.content_type", "")))


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, AttributeValue]:
    """OTLP's attributes as a dictionary."""
    # Interned: the same few names come with every span, and each message has its own copy of them.
    # Nearly all values are texts.
    return {sys.intern(pair.key[:_MAX_NAME]): pair.value.string_value or _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> AttributeValue:
    match value.WhichOneof("value"):
        case "string_value" | "bool_value" | "int_value" | "double_value" as kind:
            plain: AttributeValue = getattr(value, kind)
            return plain
        case "array_value":
            return [_value(each) for each in value.array_value.values]
        case "kvlist_value":
            return attributes_of(value.kvlist_value.values)
        case "bytes_value":
            return value.bytes_value.hex()
        case _:
            return None

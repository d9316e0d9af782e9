"""A trace in OTLP's JSON encoding (opentelemetry-proto 1.x: ids in hexadecimal, 64-bit numbers as text). Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from console.domain import AttributeValue, Kind, Span, Trace

_KINDS = {Kind.INTERNAL: 1, Kind.SERVER: 2, Kind.CLIENT: 3, Kind.PRODUCER: 4, Kind.CONSUMER: 5}
_OK, _ERROR = 0, 2


def otlp_json(trace: Trace) -> dict[str, Any]:
    """An ExportTraceServiceRequest; the captured bytes stay out."""
    by_service: dict[str, list[Span]] = defaultdict(list)
    for span in trace.in_order():
        by_service[span.service].append(span)
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_pair("service.name", service)]},
                "scopeSpans": [{"scope": {"name": "shop"}, "spans": [_span(span) for span in spans]}],
            }
            for service, spans in by_service.items()
        ]
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.started_ns),
        "endTimeUnixNano": str(span.ended_ns),
        "attributes": [_pair(name, value) for name, value in span.attributes.items()],
        "links": [{"traceId": span.trace_id, "spanId": link} for link in span.links],
        "status": {"code": _ERROR, "message": span.error} if span.error else {"code": _OK},
    }


def _pair(name: str, value: AttributeValue) -> dict[str, Any]:
    return {"key": name, "value": _value(value)}


def _value(value: AttributeValue) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_value(each) for each in value]}}
        case dict():
            return {"kvlistValue": {"values": [_pair(name, each) for name, each in value.items()]}}
        case None:
            return {}
        case _:
            return {"stringValue": value}

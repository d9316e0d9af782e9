"""Spans as OTLP has them, written as bytes at once.

Making protobuf's objects for a span with eight attributes takes 28 us, of which an order would pay seventy.
`tests/unit/test_span_export.py` holds it to the SDK's own encoder.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct
from typing import Any

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

# Bytes of one export: collectors reject what is too large, ours what is over 4 MiB.
EXPORT_BYTES = 1 << 20
# Answers after which one may try again (OTLP/HTTP, "Retryable Response Codes").
COME_BACK = frozenset({429, 502, 503, 504})
# SpanFlags of trace.proto: where the parent is.
_KNOWN, _REMOTE = 0x100, 0x200

# Protocol Buffers' wire format (protobuf.dev/programming-guides/encoding): a field is its number and type, then its
# value; of a text or message, the length first.
_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_TIME, _DOUBLE = Struct("<BQ").pack, Struct("<Bd").pack
_KINDS = [bytes((6 << 3 | _VARINT, kind.value + 1)) for kind in sorted(SpanKind, key=lambda kind: kind.value)]
# Characters of a value whose encoding is worth remembering.
_SHORT = 80
_NUMBERS = [bytes((value,)) for value in range(128)]
# Field 16 takes two bytes of its number.
_LOCAL_PARENT, _REMOTE_PARENT = (b"\x85\x01" + flags.to_bytes(4, "little") for flags in (_KNOWN, _KNOWN | _REMOTE))


def request(service: str, spans: Iterable[bytes]) -> bytes:
    """An `ExportTraceServiceRequest` of one process's encoded spans, or `ExportLogsServiceRequest` of its log records.

    The fields of both have the same numbers.
    """
    resource = _field(1, _field(1, _attribute("service.name", service)))
    scope = _field(1, _field(1, b"shop"))
    return _field(1, resource + _field(2, scope + b"".join(_field(2, span) for span in spans)))


def encoded(span: ReadableSpan) -> bytes:
    """A span as OTLP has it (opentelemetry/proto/trace/v1/trace.proto, `Span`); one under way has no end. No links."""
    context, parent, status = span.get_span_context(), span.parent, span.status
    assert context is not None  # noqa: S101  # the SDK's spans have one
    # At once: of one that is under way, another thread may add more meanwhile.
    attributes = list((span.attributes or {}).items())
    parts = [
        _field(1, context.trace_id.to_bytes(16, "big")),
        _field(2, context.span_id.to_bytes(8, "big")),
        _field(4, parent.span_id.to_bytes(8, "big")) if parent is not None else b"",
        _field(5, _text(span.name)),
        # OTLP counts from "unspecified" on.
        _KINDS[span.kind.value],
        _TIME(7 << 3 | _FIXED64, span.start_time or 0),
        _TIME(8 << 3 | _FIXED64, span.end_time) if span.end_time else b"",
    ]
    parts += [_field(9, _attribute(key, value)) for key, value in attributes]
    parts += [_field(11, _event(event)) for event in span.events]
    parts.append(_status(status.status_code, status.description or ""))
    parts.append(_REMOTE_PARENT if parent is not None and parent.is_remote else _LOCAL_PARENT)
    return b"".join(parts)


def _number(value: int) -> bytes:
    if 0 <= value < len(_NUMBERS):
        return _NUMBERS[value]
    value &= (1 << 64) - 1
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def _field(number: int, content: bytes) -> bytes:
    """A field of texts, bytes or a message; numbers up to 15."""
    return b"%c%b%b" % (number << 3 | _LENGTH, _number(len(content)), content)


def _text(text: str) -> bytes:
    # Text that is no Unicode is sent as well as can be: a request must not fail by its trace.
    return text.encode(errors="replace")


@lru_cache(256)
def _key(key: str) -> bytes:
    return _field(1, _text(key))


def _attribute(key: str, value: Any) -> bytes:
    """A `KeyValue`; most of a process's are the same few short ones again and again."""
    return _anew(key, value) if isinstance(value, str) and len(value) > _SHORT else _known(key, value)


def _anew(key: str, value: Any) -> bytes:
    """A `KeyValue` (opentelemetry/proto/common/v1/common.proto)."""
    # A boolean is an integer, too, to Python.
    if isinstance(value, str):
        content = _field(1, _text(value))
    elif isinstance(value, bool):
        content = bytes((2 << 3 | _VARINT, value))
    elif isinstance(value, int):
        content = b"%c%b" % (3 << 3 | _VARINT, _number(value))
    elif isinstance(value, float):
        content = _DOUBLE(4 << 3 | _FIXED64, value)
    else:
        raise TypeError(f"the attribute {key} is neither text, number nor truth value")
    return _key(key) + _field(2, content)


# 1 and True are equal, but written differently.
_known = lru_cache(1024, typed=True)(_anew)


def _event(event: Event) -> bytes:
    attributes = [_field(3, _attribute(key, value)) for key, value in (event.attributes or {}).items()]
    return b"".join([_TIME(1 << 3 | _FIXED64, event.timestamp), _field(2, _text(event.name)), *attributes])


def _status(code: StatusCode, description: str) -> bytes:
    said = _field(2, _text(description)) if description else b""
    return _field(15, said + (bytes((3 << 3 | _VARINT, code.value)) if code.value else b""))

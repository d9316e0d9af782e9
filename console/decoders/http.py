"""HTTP/1.1 messages (RFC 9112), with what their bodies may hold: JSON, a form, a SOAP envelope."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import orjson

from console.decoders import soap
from console.decoders.parts import Part, lines, readable

_MEANINGS = {
    "authorization": "the caller's credentials; masked before they left the process",
    "cookie": "masked before it left the process",
    "set-cookie": "masked before it left the process",
    "traceparent": "W3C Trace Context: version, trace, the span that this belongs to, flags",
    "idempotency-key": "a repeat with the same key gets the same answer and changes nothing",
    "etag": "names this version of the resource, for a later If-None-Match",
    "if-none-match": "answer 304 if this is still the version",
    "content-length": "bytes of the body",
    "content-type": "what the body is",
    "retry-after": "seconds before another try makes sense",
    "stripe-signature": "the time, and an HMAC-SHA256 over time and body, made with the shared secret",
    "webhook-signature": "an HMAC-SHA256 over id, time and body, made with the shared secret",
    "x-hub-signature-256": "an HMAC-SHA256 over the body, made with the shared secret",
    "x-shopify-hmac-sha256": "an HMAC-SHA256 over the body, made with the shared secret",
    "soapaction": "SOAP 1.1: the operation of the envelope",
    "x-request-id": "names this one request in the logs",
}


def parts(content: bytes) -> list[Part]:
    """The first line, each field of the head, and the body."""
    found: list[Part] = []
    head_end = _head_end(content)
    for start, end, line in lines(content[:head_end]):
        if not found:
            name = "status line" if line.startswith(b"HTTP/") else "request line"
            found.append(Part(name, start, end, _first_line(line)))
        elif not line:
            found.append(Part("end of the head", start, end, "an empty line"))
        else:
            field, _, value = line.partition(b":")
            called = readable(field)
            meaning = _MEANINGS.get(called.lower())
            shown = readable(value.strip())
            found.append(Part(f"header {called}", start, end, f"{shown} ({meaning})" if meaning else shown))
    if head_end < len(content):
        found += _body_parts(content, head_end)
    return found


def decoded(content: bytes, content_type: str) -> Any:
    """The body as what it is; None for none, or one that is no text."""
    return body_decoded(content[_head_end(content) :], content_type)


def body_decoded(body: bytes, content_type: str) -> Any:
    """A body of a media type: JSON as it is, XML and forms as objects, other text as text."""
    media_type = content_type.partition(";")[0].strip().lower()
    if not body:
        return None
    if media_type.endswith("json"):
        return json_or_text(body)
    if media_type.endswith("xml"):
        return soap.decoded(body)
    if media_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode(errors="replace")))
    return body.decode(errors="replace") if media_type.startswith("text/") else None


def json_or_text(data: bytes) -> Any:
    """JSON as it is; what cannot be read, such as one that was cut off, as text."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data.decode(errors="replace")


def _head_end(content: bytes) -> int:
    found = content.find(b"\r\n\r\n")
    return len(content) if found < 0 else found + 4


def _first_line(line: bytes) -> str:
    if line.startswith(b"HTTP/"):
        version, _, status = line.partition(b" ")
        return f"version {readable(version)}, status {readable(status)}"
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    return f"method {readable(method)}, target {readable(target)}, version {readable(version)}"


def _body_parts(content: bytes, start: int) -> list[Part]:
    body = content[start:]
    if soap.is_envelope(body):
        return [Part(part.name, part.start + start, part.end + start, part.meaning) for part in soap.parts(body)]
    return [Part("body", start, len(content), readable(body))]

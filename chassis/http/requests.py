"""Validation of request heads: rules for every HTTP server, and the answer to what breaks them."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from chassis.errors import Kind, ShopError
from chassis.http.problem_details import problem
from chassis.observability.capture.http import CapturedApplication
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent

log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

# Seconds for which the rest of what was refused is read, so that its client gets to see the answer.
_LINGER = 1.0
# Characters of the request target in a trace; a target may have 16 KiB.
_MAX_SHOWN = 200
# Bytes of a request's target, and of its line and header together.
MAX_TARGET_BYTES = 16 << 10
MAX_HEAD_BYTES = 64 << 10

# Fields of one value: of two, one server would take the first and another the last (RFC 9110, section 5.3).
SINGULAR = frozenset(
    b"authorization content-disposition content-length content-location content-type date from host idempotency-key "
    b"if-modified-since if-range if-unmodified-since last-event-id max-forwards origin proxy-authorization range "
    b"sec-websocket-key sec-websocket-version".split()
)
# RFC 3986, section 3.2.2, with a port.
_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refusal of a request: an HTTP status, a stable code, and what to change."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


NOT_HTTP = Refusal(400, "MALFORMED_REQUEST", "the request must be HTTP/1.1 (RFC 9112)")
HEAD_TOO_LARGE = Refusal(431, "HEAD_TOO_LARGE", f"request line and header must have at most {MAX_HEAD_BYTES} bytes")
TARGET_TOO_LONG = Refusal(414, "URI_TOO_LONG", f"request target must have at most {MAX_TARGET_BYTES} bytes")
HEAD_TOO_SLOW = Refusal(408, "HEAD_TOO_SLOW", "request line and header took too long; send them without a pause")
# The answer to `OPTIONS *`, the server as a whole (RFC 9110, section 9.3.7); each path has its own.
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


def refusal(
    method: str, target: bytes, version: str, headers: Iterable[Header], singular: Collection[bytes] = SINGULAR
) -> Refusal | None:
    """Refusal of a request with this head; None when it is served. Names of headers are in lower case.

    `singular` names the fields that may come once. RFC 9110, sections 5.3 and 7.2; RFC 9112, sections 3 and 6.1.
    """
    if version not in ("1.0", "1.1"):
        return Refusal(505, "VERSION_NOT_SUPPORTED", "the version must be HTTP/1.0 or HTTP/1.1")
    if method == "CONNECT":
        return Refusal(501, "METHOD_NOT_IMPLEMENTED", "CONNECT is not supported: this server is not a proxy")
    if len(target) > MAX_TARGET_BYTES:
        return TARGET_TOO_LONG
    if target == b"*" and method != "OPTIONS":
        return Refusal(400, "MALFORMED_REQUEST", "the target * is only for OPTIONS (RFC 9112, section 3.2.4)")
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        if name not in values:
            values[name] = value
        elif name in singular:
            message = f"the header {name.decode('latin-1')} must be sent once, not in several lines"
            return Refusal(400, "REPEATED_HEADER", message)
        elif name == b"transfer-encoding":
            values[name] += b", " + value
    return (
        _host_refusal(values.get(b"host"), version)
        or _coding_refusal(values.get(b"transfer-encoding"), version)
        or _expectation_refusal(values.get(b"expect"), version)
    )


def handshake_refusal(headers: Iterable[Header]) -> Refusal | None:
    """The reason not to open a WebSocket with this head; None if it may be (RFC 6455, sections 4.2.1 and 4.4)."""
    values = {name.lower(): value for name, value in headers}
    offered = values.get(b"upgrade", b"").strip().lower() == b"websocket"
    if not offered or b"upgrade" not in (each.strip() for each in values.get(b"connection", b"").lower().split(b",")):
        message = "a WebSocket is served here: send Connection: Upgrade and Upgrade: websocket"
    elif values.get(b"sec-websocket-version", b"").strip() != b"13":
        message = "Sec-WebSocket-Version must be 13 (RFC 6455)"
    elif not _is_websocket_key(values.get(b"sec-websocket-key", b"").strip()):
        message = "Sec-WebSocket-Key must be 16 bytes in base64 (RFC 6455, section 4.1)"
        return Refusal(400, "MALFORMED_REQUEST", message)
    else:
        return None
    versions = {"upgrade": "websocket", "connection": "upgrade, close", "sec-websocket-version": "13"}
    return Refusal(426, "UPGRADE_REQUIRED", message, versions)


def _is_websocket_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except ValueError:
        return False


def _host_refusal(host: bytes | None, version: str) -> Refusal | None:
    if host is None and version == "1.1":
        return Refusal(400, "HOST_MISSING", "an HTTP/1.1 request must have one Host")
    if host is not None and not _HOST.fullmatch(host):
        return Refusal(400, "HOST_MALFORMED", "Host must be a name or an address, with or without a port")
    return None


def _coding_refusal(coding: bytes | None, version: str) -> Refusal | None:
    if coding is None or (coding.lower() == b"chunked" and version == "1.1"):
        return None
    codings = [each.strip().lower() for each in coding.split(b",")]
    if version == "1.1" and codings[-1] == b"chunked" and codings.count(b"chunked") == 1:
        return Refusal(501, "TRANSFER_CODING_NOT_IMPLEMENTED", "the transfer coding must be chunked")
    return Refusal(400, "MALFORMED_REQUEST", "Transfer-Encoding must end with chunked, once, in HTTP/1.1")


def _expectation_refusal(expected: bytes | None, version: str) -> Refusal | None:
    """RFC 9110, section 10.1.1: `100-continue` is all that can be expected, and of HTTP/1.1 alone."""
    if expected is None or version == "1.0" or expected.strip().lower() in (b"", b"100-continue"):
        return None
    return Refusal(417, "EXPECTATION_FAILED", "Expect must be 100-continue")


def combined(headers: list[Header]) -> list[Header]:
    """One line for each name, with the values of all its lines in their order (RFC 9110, section 5.3)."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in values:
            # RFC 6265, section 5.4: the one list that is not separated by commas.
            values[name] += (b"; " if name == b"cookie" else b", ") + value
        else:
            values[name] = value
    return list(values.items()) if len(values) < len(headers) else headers


def has_body(headers: Iterable[Header]) -> bool:
    """Whether a request announces a body (RFC 9112, section 6.3)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 ")) for name, value in headers
    )


def head_size(target: bytes, headers: Iterable[Header]) -> int:
    """Bytes of a request's line and header, without spaces that mean nothing."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


@dataclass(eq=False)
class Refused:
    """ASGI: refuses what no application has seen, by a problem with ids to look it up by, and a span if possible.

    The connection ends for the client at once and for us after a moment, in which what still comes is dropped: closing
    on bytes that nothing has read makes the system forget the answer.
    """

    _refusal: Refusal
    _transport: asyncio.Transport
    _telemetry: Telemetry | None
    # Both empty where the head of the request was not read to its end.
    _method: str = ""
    _target: str = ""

    def __post_init__(self) -> None:
        self._target = self._target.partition("?")[0][:_MAX_SHOWN]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._span():
            answering = self._answer
            if self._telemetry is not None and self._telemetry.capture is not None:
                shown = {"method": self._method or "?", "path": self._target, "raw_path": self._target.encode()}
                await CapturedApplication(answering)({**scope, **shown}, receive, send)
            else:
                await answering(scope, receive, send)
        if self._transport.can_write_eof():
            self._transport.write_eof()
        try:
            async with asyncio.timeout(_LINGER):
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            log.debug("refused request: client did not close its connection")
            self._transport.abort()
            while (await receive())["type"] != "http.disconnect":
                pass

    def _span(self) -> Any:
        if self._telemetry is None:
            return nullcontext()
        return self._telemetry.span(
            f"{self._method} {self._target}" if self._method else "refused request",
            SpanKind.SERVER,
            protocol="HTTP",
            attributes={"http.response.status_code": self._refusal.status, "error.type": self._refusal.code},
        )

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI's shape
        refused = self._refusal
        traceparent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        if self._telemetry is not None:
            traceparent = current_traceparent()
        error = ShopError(refused.code, refused.message, Kind.INVALID)
        _, headers, body = problem(error, status=refused.status, trace_id=traceparent[3:35])
        headers |= {
            "x-request-id": secrets.token_hex(16),
            "traceparent": traceparent,
            "content-length": str(len(body)),
            "connection": "close",
        }
        headers |= refused.headers
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refused.status, "headers": raw})
        await send({"type": "http.response.body", "body": body, "more_body": True})

"""Calls over HTTP: REST, GraphQL, webhooks, SOAP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from chassis.errors import invalid, unavailable
from chassis.observability.capture.http import keep_response
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent
from console.decoders import soap
from console.decoders.parts import writable
from console.play.call import MAX_ANSWER, Answer

# Seconds for a call as a whole. Of its answer's bytes, the most that are kept, and the most that are read and counted.
TIMEOUT = 10.0
_MAX_KEPT = 1 << 20
_MAX_READ = 8 << 20
# Their system must not get our trace headers: it has no use for them.
_FOREIGN = ("legacy_soap",)


@dataclass(frozen=True, slots=True)
class Received:
    """An answer: the first of its body's bytes as `content`, and how many there were of them, as far as was counted."""

    status: int
    reason: str
    headers: httpx.Headers
    content: bytes
    size: int

    def json(self) -> Any:
        """Raises `ValueError` where the content is no JSON."""
        return orjson.loads(self.content)


class HttpCalls:
    """`targets` are the base URLs of the processes that may be called."""

    def __init__(self, http: httpx.AsyncClient, targets: Mapping[str, str], telemetry: Telemetry) -> None:
        self._http = http
        self._targets = targets
        self._telemetry = telemetry

    def base(self, target: str) -> str:
        """The base URL of a process. Raises INVALID_INPUT for one that may not be called."""
        base = self._targets.get(target)
        if base is None:
            raise invalid("the call cannot be made", target=f"must be one of {', '.join(self._targets)}")
        return base

    async def make(self, target: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises INVALID_INPUT, or UPSTREAM_UNAVAILABLE where no server answers."""
        base = self.base(target)
        facts = {"http.request.method": method, "url.path": path.partition("?")[0]}
        operation = _soap_action(headers)
        name = f"SOAP {operation}" if operation else f"{method} {path.partition('?')[0]}"
        protocol = protocol_of(target, path)
        with self._telemetry.span(name, SpanKind.CLIENT, protocol=protocol, peer=target, attributes=facts) as span:
            sent = dict(headers)
            if target not in _FOREIGN:
                sent["traceparent"] = current_traceparent()
            began = time.perf_counter()
            response = await self.send(method, base + path, headers=sent, content=body)
            took = (time.perf_counter() - began) * 1_000
            content = response.content
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("shop.bytes.sent", len(body))
            span.set_attribute("shop.bytes.received", response.size)
            if self._telemetry.capture is not None:
                unkept = response.size - len(content)
                keep_response(span, response.status, response.headers.raw, content, unread=unkept)
        return Answer(
            response.status,
            response.reason,
            list(response.headers.items()),
            content[:MAX_ANSWER].decode("utf-8", "replace"),
            len(body),
            response.size,
            took,
            decoded=writable(soap.decoded(content), content) if soap.is_envelope(content) else None,
            failed=response.status >= 400,
        )

    async def send(self, method: str, url: str, **content: Any) -> Received:
        """A request without a span of its own. Raises as `make` does."""
        try:
            # httpx's own bounds are for each step: an answer that comes byte by byte would never be too late.
            async with asyncio.timeout(TIMEOUT), self._http.stream(method, url, timeout=TIMEOUT, **content) as response:
                kept, size = await _bounded(response)
                return Received(response.status_code, response.reason_phrase, response.headers, kept, size)
        except (httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
            raise unavailable(httpx.URL(url).host) from error
        except httpx.InvalidURL as error:
            raise invalid("the call cannot be made", path=str(error)) from error


async def _bounded(response: httpx.Response) -> tuple[bytes, int]:
    """The beginning of a body, and its size as far as it is counted."""
    kept, size = bytearray(), 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        kept += piece[: _MAX_KEPT - len(kept)]
        if size > _MAX_READ:
            break
    return bytes(kept), size


def protocol_of(target: str, path: str) -> str:
    """The protocol of a process on a path."""
    if target == "gateway":
        return "GraphQL" if path.partition("?")[0] == "/graphql" else "REST"
    return {"webhooks": "webhook", "legacy_soap": "SOAP"}.get(target, "HTTP")


def _soap_action(headers: Mapping[str, str]) -> str:
    return next((value.strip('"') for name, value in headers.items() if name.lower() == "soapaction"), "")

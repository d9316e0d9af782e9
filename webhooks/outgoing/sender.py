"""One attempt over HTTP: bounded in time and size, following nowhere, connecting only to permitted addresses."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp

from chassis import wall_clock
from chassis.observability.capture.http import aiohttp_middlewares, keep_aiohttp_response
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent
from webhooks.outgoing.addresses import guarded_socket
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint, retry_after, signed_headers
from webhooks.outgoing.lookup import EndpointNames

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
_SNIPPET_BYTES = 1_024
_MAX_ERROR = 200
# Enough for every lane's requests: what is beyond would wait for other endpoints' connections.
_CONNECTIONS = 1_000


class HttpSender:
    def __init__(self, session: aiohttp.ClientSession, telemetry: Telemetry) -> None:
        self._session = session
        self._telemetry = telemetry

    async def send(self, endpoint: Endpoint, delivery: Delivery) -> Attempt:
        at, began = wall_clock.now(), time.perf_counter()
        status, error, response, later = 0, "", "", None
        try:
            status, response, later = await self._post(endpoint, delivery)
        except TimeoutError:
            error = "no answer in time"
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = (str(failure) or type(failure).__name__)[:_MAX_ERROR]
        except Exception as failure:
            # An attempt that was made counts, whatever is wrong with its answer: else it would be made for ever.
            log.exception("webhook delivery: answer unreadable", extra={"endpoint": endpoint.id})
            error = type(failure).__name__
        took = round((time.perf_counter() - began) * 1000)
        return Attempt(delivery.attempts + 1, at, took, status, error, response, later)

    async def _post(self, endpoint: Endpoint, delivery: Delivery) -> tuple[int, str, float | None]:
        """The answer's status, the beginning of its body (the rest is not read), and its `Retry-After` in seconds."""
        with self._telemetry.span(
            f"POST {delivery.event_type}",
            SpanKind.CLIENT,
            protocol="webhook",
            peer=urlsplit(endpoint.url).hostname or "",
            parent=delivery.traceparent,
            attributes={
                "http.request.method": "POST",
                # Not the whole URL: some carry a secret in their path.
                "server.address": urlsplit(endpoint.url).hostname or "",
                "shop.endpoint": endpoint.id,
                "shop.attempt": delivery.attempts + 1,
                "shop.bytes.sent": len(delivery.body),
            },
        ) as span:
            now = wall_clock.now()
            headers = {**signed_headers(delivery, endpoint, now), "traceparent": current_traceparent()}
            async with self._session.post(
                endpoint.url, data=delivery.body, headers=headers, allow_redirects=False
            ) as response:
                snippet = await _beginning(response.content)
                if self._telemetry.capture is not None:
                    keep_aiohttp_response(span, response, snippet)
                span.set_attribute("http.response.status_code", response.status)
                span.set_attribute("shop.bytes.received", len(snippet))
                return response.status, _text(snippet), retry_after(response.headers.get("retry-after", ""), now)


@asynccontextmanager
async def http_sender(
    permitted: Callable[[str], bool], telemetry: Telemetry, *, timeout: float
) -> AsyncIterator[HttpSender]:
    """A sender that connects to permitted addresses only; `timeout` in seconds is for a whole attempt."""
    connector = aiohttp.TCPConnector(
        limit=_CONNECTIONS,
        # A connection for each attempt: its address is the one that the name has now, and it is checked.
        force_close=True,
        use_dns_cache=False,
        resolver=EndpointNames(),
        socket_factory=guarded_socket(permitted),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout, connect=_CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a small answer could be a large one, compressed
        trust_env=False,
        middlewares=aiohttp_middlewares(telemetry, secret_targets=True),
    ) as session:
        yield HttpSender(session, telemetry)


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    found = b""
    while len(found) < _SNIPPET_BYTES and (chunk := await content.read(_SNIPPET_BYTES - len(found))):
        found += chunk
    return found


def _text(snippet: bytes) -> str:
    """The bytes as text that any database holds and any terminal shows."""
    return "".join(
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}"
        for character in snippet.decode(errors="replace")
    )

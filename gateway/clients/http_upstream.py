"""Servers behind the gateway that speak HTTP themselves: their answers are passed on unchanged, as streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from chassis.clients.gateway import TIMEOUT_HEADER
from chassis.errors import timed_out, unavailable
from chassis.observability.capture.http import aiohttp_middlewares
from chassis.observability.tracing import NOTE, Span, SpanKind, Telemetry, current_traceparent
from chassis.resilience.deadlines import FAIR_CHANCE, CircuitBreaker, time_left

# Less than the 30 s after which the other side closes an idle connection: a request on one that is closing fails.
_KEEP_ALIVE = 15.0


@dataclass(frozen=True, slots=True)
class HttpUpstream:
    """`url` without a path; `protocol` as traces call it; `timeout` in seconds where no deadline is nearer."""

    session: aiohttp.ClientSession
    peer: str
    url: str
    protocol: str
    telemetry: Telemetry
    timeout: float
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)

    @asynccontextmanager
    async def request(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes = b""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's answer, to be read within the block; `query` is the raw query string.

        Raises UPSTREAM_UNAVAILABLE or DEADLINE_EXCEEDED, from within the block too.
        """
        url = URL(f"{self.url}{path}?{query}" if query else f"{self.url}{path}", encoded=True)
        with self.telemetry.span(
            f"{method} {path}",
            SpanKind.CLIENT,
            protocol=self.protocol,
            peer=self.peer,
            attributes={"shop.bytes.sent": len(body)},
        ) as span:
            budget = self._budget(span)
            passed_on = {
                **headers,
                "Accept-Encoding": "identity",
                "traceparent": current_traceparent(),
                TIMEOUT_HEADER: str(int(budget * 1000)),
            }
            answered = False
            try:
                async with self.session.request(
                    method,
                    url,
                    headers=passed_on,
                    data=body or None,
                    timeout=aiohttp.ClientTimeout(total=budget),
                    allow_redirects=False,
                ) as response:
                    answered = True
                    yield response
                    span.set_attribute("shop.bytes.received", response.content.total_bytes)
            except (aiohttp.ClientError, TimeoutError) as error:
                # Not for a client that is slow, in sending its request or in taking the answer.
                if not isinstance(error, TimeoutError) or (budget >= FAIR_CHANCE and not answered):
                    self.breaker.failed()
                # aiohttp's own time-outs are both.
                raise (timed_out if isinstance(error, TimeoutError) else unavailable)(self.peer) from error
            self.breaker.succeeded()

    def _budget(self, span: Span) -> float:
        """Seconds for a request; refuses one that has no time or no chance."""
        if not self.breaker.allows_call():
            span.set_attribute(NOTE, "breaker_open")
            raise unavailable(self.peer, retry_after=self.breaker.retry_after())
        left = time_left()
        budget = self.timeout if left is None else min(left, self.timeout)
        if budget <= 0:
            raise timed_out(self.peer)
        return budget


@asynccontextmanager
async def http_upstream(
    peer: str, url: str, protocol: str, telemetry: Telemetry, timeout: float, connections: int
) -> AsyncIterator[HttpUpstream]:
    """A client with connections of its own; none is opened before it is needed.

    `connections` at once at most, 0 for as many as there are requests: these are bounded where they arrive.
    """
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=_KEEP_ALIVE)
    # No cookies are kept: the session is shared by all callers.
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), middlewares=aiohttp_middlewares(telemetry)
    ) as session:
        yield HttpUpstream(session, peer, url.rstrip("/"), protocol, telemetry, timeout)

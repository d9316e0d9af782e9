"""The GraphQL server, over HTTP: what it answers is passed on as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from chassis.errors import ShopError, timed_out, unavailable
from chassis.resilience import CircuitBreaker, time_left
from chassis.telemetry import SpanKind, Telemetry, current_traceparent
from gateway.service_calls import TIMEOUT_HEADER

PEER = "graphql_server"
# Less than the 30 s after which the other side closes an idle connection: a request on one that is closing fails.
_KEEP_ALIVE = 15.0


class GraphqlClient:
    def __init__(self, session: aiohttp.ClientSession, url: str, telemetry: Telemetry, *, timeout: float) -> None:
        """`url` of the server, without a path; `timeout` in seconds where no deadline is nearer."""
        self._session = session
        self.url = url
        self._url = f"{url}/graphql"
        self._telemetry = telemetry
        self._timeout = timeout
        self._breaker = CircuitBreaker()

    @asynccontextmanager
    async def asking(
        self, method: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's answer, to be read within the block; `query` is the raw query string.

        Raises UPSTREAM_UNAVAILABLE or DEADLINE_EXCEEDED, from within the block too.
        """
        budget = self._budget()
        url = URL(f"{self._url}?{query}" if query else self._url, encoded=True)
        with self._telemetry.span(
            f"{method} /graphql",
            SpanKind.CLIENT,
            protocol="GraphQL",
            peer=PEER,
            attributes={"shop.bytes.sent": len(body)},
        ) as span:
            passed_on = {
                **headers,
                "Accept-Encoding": "identity",
                "traceparent": current_traceparent(),
                TIMEOUT_HEADER: str(int(budget * 1000)),
            }
            try:
                async with self._session.request(
                    method,
                    url,
                    headers=passed_on,
                    data=body or None,
                    timeout=aiohttp.ClientTimeout(total=budget),
                    allow_redirects=False,
                ) as response:
                    yield response
                    span.set_attribute("shop.bytes.received", response.content.total_bytes)
            except (aiohttp.ClientError, TimeoutError) as error:
                self._breaker.failed()
                raise _translated(error) from error
            self._breaker.succeeded()

    def _budget(self) -> float:
        """Seconds for a request; refuses one that has no time or no chance."""
        if not self._breaker.allows_call():
            raise unavailable(PEER, retry_after=self._breaker.retry_after())
        left = time_left()
        budget = self._timeout if left is None else min(left, self._timeout)
        if budget <= 0:
            raise timed_out(PEER)
        return budget


def _translated(error: aiohttp.ClientError | TimeoutError) -> ShopError:
    # aiohttp's own time-outs are both.
    return timed_out(PEER) if isinstance(error, TimeoutError) else unavailable(PEER)


@asynccontextmanager
async def graphql_client(url: str, telemetry: Telemetry, *, timeout: float) -> AsyncIterator[GraphqlClient]:
    """A client with connections of its own; none is opened before it is needed."""
    connector = aiohttp.TCPConnector(limit=200, keepalive_timeout=_KEEP_ALIVE)
    # Nobody's cookies: the session is shared by all callers.
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield GraphqlClient(session, url, telemetry, timeout=timeout)

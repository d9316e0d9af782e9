"""Client of the gateway's REST API: calls carry the caller's identity, the trace and the remaining time."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import orjson

from chassis.background import forever
from chassis.clients.http_client import HttpClient, Response, http_client
from chassis.errors import Kind, ShopError, timed_out, unavailable
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent
from chassis.resilience.deadlines import time_left

log = logging.getLogger(__name__)

PEER = "gateway"
# What is left of a request's time, in milliseconds; the gateway gives it no more than that.
TIMEOUT_HEADER = "x-timeout-ms"
# It proves to the gateway that a call is part of a query already counted against the caller's limits.
SERVICE_HEADER = "X-Shop-Service"
# Beside it: the client whose WebSocket a call is for. The gateway has not seen what came over it, and counts the call
# against that client instead of the process that makes it.
CLIENT_HEADER = "X-Shop-Client"
_PASSED_ON = ("Authorization", "X-Request-ID")
_ACCEPTED = {"Accept": "application/json", "Accept-Encoding": "identity"}
# Seconds. The token source renews its token before it expires; this only fetches what it has.
_TOKEN_REFRESH_INTERVAL = 5.0
IDENTIFIER = re.compile(r"[A-Za-z0-9._~-]{1,64}")

# Of two kinds with one status, the first.
_KIND_OF = {kind.http_status: kind for kind in reversed(Kind)} | {
    400: Kind.INVALID,
    412: Kind.PRECONDITION,
    502: Kind.UNAVAILABLE,
}


class GatewayClient:
    """The connections to the gateway, shared by all requests; each call names its own caller."""

    def __init__(self, http: HttpClient, telemetry: Telemetry, *, budget: float, identity: Callable[[], str]) -> None:
        """`budget` in seconds for a call where no deadline is nearer.

        `identity` is this process's own token, empty while there is none.
        """
        self._http = http
        self._telemetry = telemetry
        self._budget = budget
        self._identity = identity

    def on_behalf_of(self, caller: Mapping[str, str], *, counted: bool, client: str = "") -> Gateway:
        """The gateway as one caller sees it; `caller` is what is passed on of their request's header.

        `counted`: the gateway has counted the request that this is for. What comes over a WebSocket it has not seen, so
        each call counts, for `client` as the gateway named it in the handshake.
        """
        return Gateway(self, caller, counted=counted, socket_client=client)

    def identification(self, *, counted: bool, client: str) -> Mapping[str, str]:
        """The header fields that show who makes a call now: a subscription outlives the token it began with."""
        token = self._identity() if counted or client else ""
        if not token:
            return {}
        ours = {SERVICE_HEADER: f"Bearer {token}"}
        return ours if counted else {**ours, CLIENT_HEADER: client}

    async def call(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[Any, Mapping[str, str]]:
        """Make a call, and return the JSON of the response, with its headers.

        Raises `ShopError` with the code of the gateway's problem+json (RFC 9457), UPSTREAM_UNAVAILABLE or
        DEADLINE_EXCEEDED.
        """
        left = time_left()
        budget = self._budget if left is None else min(left, self._budget)
        if budget <= 0:
            raise timed_out(PEER)
        with self._telemetry.span(
            f"{method} {path.partition('?')[0]}", SpanKind.CLIENT, protocol="REST", peer=PEER
        ) as span:
            response = await self._exchange(method, path, headers, body, budget)
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("shop.bytes.sent", len(body))
            span.set_attribute("shop.bytes.received", len(response.content))
            if response.status >= 300:
                raise _error(response)
            return orjson.loads(response.content), response.headers

    async def _exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes, budget: float
    ) -> Response:
        ours = {TIMEOUT_HEADER: str(int(budget * 1000)), "traceparent": current_traceparent()}
        try:
            return await self._http.request(method, path, {**_ACCEPTED, **headers, **ours}, body, timeout=budget)
        except TimeoutError as error:
            raise timed_out(PEER) from error
        except OSError as error:
            raise unavailable(PEER) from error


@dataclass(frozen=True, slots=True)
class Gateway:
    """The gateway as one caller sees it. Rows are the JSON objects of the REST API, unchanged."""

    client: GatewayClient
    caller: Mapping[str, str]
    counted: bool
    socket_client: str = ""

    @property
    def _headers(self) -> dict[str, str]:
        return {**self.caller, **self.client.identification(counted=self.counted, client=self.socket_client)}

    async def get(self, path: str, **parameters: str | int | None) -> Any:
        query = "&".join(
            [f"{name}={quote_plus(str(value), safe=',')}" for name, value in parameters.items() if value is not None]
        )
        found, _ = await self.client.call("GET", f"{path}?{query}" if query else path, self._headers)
        return found

    async def post(
        self, path: str, body: object, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, Mapping[str, str]]:
        """The answer and its headers."""
        sent = {**self._headers, **(headers or {}), "Content-Type": "application/json"}
        return await self.client.call("POST", path, sent, orjson.dumps(body))


class ServiceIdentity:
    """This process's own token, kept fresh beside the requests, so that none of them ever waits for it."""

    def __init__(self, source: Callable[[], Awaitable[str]]) -> None:
        self._source = source
        self._token = ""  # nosec B105 # not signed in yet

    def __call__(self) -> str:
        """The token; empty while there is none. Then calls go on, and count against their caller's limits."""
        return self._token

    async def keep(self) -> None:
        """Keep it fresh, for as long as the process lives."""
        await forever(self._refresh, name="own service token", every=_TOKEN_REFRESH_INTERVAL)

    async def _refresh(self) -> None:
        self._token = await self._source()


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """The caller's headers (in any case) that are passed on to the gateway."""
    return {name: headers[name] for name in _PASSED_ON if name in headers}


def is_identifier(text: str) -> bool:
    """Whether anything can have this id. What cannot is not requested: one such id would spoil a whole batch."""
    return IDENTIFIER.fullmatch(text) is not None and text not in (".", "..")


def _error(response: Response) -> ShopError:
    """The gateway's refusal as our error, with its own message where it has one."""
    kind = _KIND_OF.get(response.status, Kind.INTERNAL)
    try:
        problem = orjson.loads(response.content)
        code, detail = str(problem["code"]), str(problem["detail"])
        fields = {str(found["field"]): str(found["detail"]) for found in problem.get("errors", ())}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        if kind is Kind.UNAVAILABLE:
            return unavailable(PEER)
        return ShopError("UPSTREAM_ERROR", f"{PEER} answered {response.status}", Kind.INTERNAL)
    retry_after = response.headers.get("Retry-After", "")
    return ShopError(
        code, detail, kind, fields=fields, retry_after=float(retry_after) if retry_after.isdecimal() else None
    )


@asynccontextmanager
async def gateway_client(
    url: str,
    telemetry: Telemetry,
    *,
    budget: float,
    identity: Callable[[], str] = lambda: "",
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[GatewayClient]:
    """The gateway at this URL, with seconds for a call; nothing is opened before it is needed. `trust` is for HTTPS."""
    async with http_client(url, telemetry, trust=trust) as http:
        yield GatewayClient(http, telemetry, budget=budget, identity=identity)

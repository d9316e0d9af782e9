"""Calls over SOAP: envelopes by zeep, HTTP by one reused aiohttp session, the ERP's sessions kept and renewed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp

from chassis.errors import timed_out, unavailable
from chassis.observability.capture.http import aiohttp_middlewares, keep_aiohttp_response
from chassis.observability.tracing import NOTE, Span, SpanKind, Telemetry, current_span, current_traceparent, note
from chassis.resilience.deadlines import FAIR_CHANCE, CircuitBreaker, time_left
from services.erp_adapter.translation import SESSION_ENDED, ErpFault, session_id
from services.erp_adapter.wsdl import Wsdl

ERP = "the ERP"
MAX_BYTES = 1024 * 1024
# The ERP works on eight calls at a time; more connections would only move the queue.
CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Login:
    """The shop's account at the ERP."""

    user: str
    password: str


class SoapClient:
    """Calls the operations of a WSDL, which is fetched when it is first needed and the ERP is there."""

    def __init__(
        self,
        url: str,
        http: aiohttp.ClientSession,
        telemetry: Telemetry,
        login: Login,
        *,
        budget: float,
        contract: str | None,
    ) -> None:
        self._url = url.partition("?")[0]
        self._http = http
        self._telemetry = telemetry
        self._login = login
        self._budget = budget
        self._breaker = CircuitBreaker()
        if telemetry.metrics is not None:
            telemetry.metrics.watch("legacy_soap", self._breaker)
        self._session = ""
        self._preparing = asyncio.Lock()
        self.wsdl = Wsdl(self._fetch_wsdl, contract)

    async def call(self, operation: str, body: Mapping[str, Any]) -> Any:
        """The result of an operation, which must be one that may be repeated.

        Takes at most `budget` seconds, or what is left of the caller's deadline, login and waiting included. Raises
        `ErpFault` for what the ERP refuses, `ValueError` for an answer that cannot be used, UPSTREAM_UNAVAILABLE or
        DEADLINE_EXCEEDED for none, ERP_CONTRACT_CHANGED where it would not be understood.
        """
        left = time_left()
        if left == 0:
            raise timed_out(ERP)
        if not self._breaker.allows_call():
            with self._span(operation) as span:
                span.set_attribute(NOTE, "breaker_open")
                raise unavailable(ERP, retry_after=self._breaker.retry_after())
        hurried = left is not None and left < self._budget
        try:
            async with asyncio.timeout(left if hurried else self._budget):
                result = await self._call_in_session(operation, body)
        except TimeoutError:
            if left is None or left >= min(FAIR_CHANCE, self._budget):
                self._breaker.failed()
            raise (timed_out(ERP) if hurried else unavailable(ERP)) from None
        except aiohttp.ClientError as error:
            self._breaker.failed()
            raise unavailable(ERP) from error
        except ValueError:
            self._breaker.failed()
            self.wsdl.recheck()
            raise
        except ErpFault:
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        return result

    async def _call_in_session(self, operation: str, body: Mapping[str, Any]) -> Any:
        session = await self._open_session(instead_of="")
        try:
            return await self._exchange(operation, session, body)
        except ErpFault as fault:
            if fault.code != SESSION_ENDED:
                raise
        return await self._exchange(operation, await self._open_session(instead_of=session), body)

    async def _open_session(self, *, instead_of: str) -> str:
        """The session that is open, or a new one in place of one that has ended. One caller logs in for all."""
        if self._session == instead_of:
            async with self._preparing:
                if self._session == instead_of:
                    credentials = {"User": self._login.user, "Password": self._login.password}
                    self._session = session_id(await self._exchange("Login", "", credentials))
        return self._session

    async def _exchange(self, operation: str, session: str, body: Mapping[str, Any]) -> Any:
        envelopes = await self.wsdl.envelopes()
        request = envelopes.request(operation, session, body)
        with self._span(operation) as span:
            span.set_attribute("shop.bytes.sent", len(request))
            headers = {
                "Content-Type": "text/xml; charset=utf-8",
                "SOAPAction": f'"{operation}"',
                "traceparent": current_traceparent(),
            }
            status, content = await self._http_call("POST", self._url, request, headers)
            span.set_attribute("shop.bytes.received", len(content))
            return envelopes.result(operation, status, content)

    async def _fetch_wsdl(self) -> bytes:
        async with asyncio.timeout(self._budget):
            status, wsdl = await self._http_call("GET", f"{self._url}?wsdl")
        if status != HTTPStatus.OK:
            raise ValueError(f"the ERP answered {status} instead of its WSDL")
        return wsdl

    async def _http_call(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The status and content of an answer in XML; `ValueError` for any other, or one that is too long."""
        # The connections that were kept open died with the ERP that they led to; it may have been restarted since.
        for _ in range(CONNECTIONS):
            try:
                return await self._http_call_once(method, url, body, headers)
            except aiohttp.ClientConnectorError:
                raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                note("retry")
        return await self._http_call_once(method, url, body, headers)

    async def _http_call_once(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        async with self._http.request(
            method, url, data=body or None, headers=headers, allow_redirects=False
        ) as response:
            if response.content_type not in ("text/xml", "application/xml"):
                raise ValueError(f"the ERP answered {response.status} with {response.content_type}")
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MAX_BYTES:
                    raise ValueError(f"the ERP answered with more than {MAX_BYTES} bytes")
            if self._telemetry.capture is not None:
                keep_aiohttp_response(current_span(), response, bytes(content))
            return response.status, bytes(content)

    def _span(self, operation: str) -> AbstractContextManager[Span]:
        attributes = {"rpc.system": "soap", "rpc.method": operation}
        return self._telemetry.span(
            f"SOAP {operation}", SpanKind.CLIENT, protocol="SOAP", peer="legacy_soap", attributes=attributes
        )


@asynccontextmanager
async def soap_client(
    url: str, telemetry: Telemetry, login: Login, *, budget: float, contract: str | None = None
) -> AsyncIterator[SoapClient]:
    """A client for the ERP at an address, with `budget` seconds for a call; nothing is sent before the first one.

    `contract` is what the ERP's WSDL has to stand for (see contract.py); None takes whatever comes.
    """
    # The time of a call is bounded as a whole, in `call`.
    unbounded = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(
        connector=connector, timeout=unbounded, middlewares=aiohttp_middlewares(telemetry)
    ) as http:
        yield SoapClient(url, http, telemetry, login, budget=budget, contract=contract)

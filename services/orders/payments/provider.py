"""The payment provider over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import orjson

from chassis.currency import to_minor
from chassis.errors import Kind, ShopError, timed_out, unavailable
from chassis.observability.capture.http import aiohttp_middlewares, keep_aiohttp_response
from chassis.observability.tracing import NOTE, Span, SpanKind, Telemetry, current_traceparent
from chassis.resilience.deadlines import CircuitBreaker, time_left
from services.orders.domain import Order

log = logging.getLogger(__name__)

# No client waits for the saga's calls, so they may take longer than a client would wait.
_TIMEOUT = 5.0
_PROVIDER = "payment_provider"
# The error code of a request for an order whose payments were cancelled.
_ORDER_CLOSED = "order_closed"

T = TypeVar("T")


def provider_session(telemetry: Telemetry) -> aiohttp.ClientSession:
    """A session for calls of `HttpPayments`, which bounds each as a whole."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=aiohttp_middlewares(telemetry),
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: bytes

    @property
    def text(self) -> str:
        return self.content[:200].decode(errors="replace")

    @property
    def error_code(self) -> str:
        """The code of an error in the API's own form; empty for any other answer."""
        try:
            return str(orjson.loads(self.content)["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return ""


class _Refusal(ShopError):
    """The provider rejects a request, and would do so again."""

    def __init__(self, answer: _Answer) -> None:
        message = f"the payment provider answered {answer.status}: {answer.text}"
        super().__init__("PAYMENT_REFUSED", message, Kind.INTERNAL)
        self.answer = answer


class HttpPayments:
    """The payment provider's API, modelled on Stripe's.

    Calls take the shorter of 5 s and what is left of the caller's deadline, and raise UPSTREAM_UNAVAILABLE, at once
    while the provider keeps failing, or DEADLINE_EXCEEDED.
    """

    def __init__(
        self, http: aiohttp.ClientSession, url: str, telemetry: Telemetry, *, timeout: float = _TIMEOUT
    ) -> None:
        """`url` is the provider's; `timeout` in seconds for a call where no deadline is nearer."""
        self._http = http
        self._url = url.rstrip("/")
        self._telemetry = telemetry
        self._timeout = timeout
        self._breaker = CircuitBreaker()
        if telemetry.metrics is not None:
            telemetry.metrics.watch(_PROVIDER, self._breaker)

    async def request(self, order: Order) -> str:
        body = {
            "amount": to_minor(order.total, order.currency),
            "currency": order.currency.lower(),
            "metadata": {"order_id": order.id},
        }
        # The order's id as idempotency key: however often the saga is repeated, there is one payment.
        headers = {"Idempotency-Key": order.id}
        try:
            return await self._call("POST", "/v1/payment_intents", _id, json=body, headers=headers)
        except _Refusal as refusal:
            raise _of_payment(order, refusal) from None

    async def cancel(self, order_id: str) -> None:
        # Close first: requests still in flight are then refused, so no payment can follow.
        for payment_id in await self._call("POST", f"/v1/orders/{order_id}/close", _collected):
            await self._refund(payment_id)

    async def _refund(self, payment_id: str) -> None:
        """Give back all that is left of a payment; the payment's id as idempotency key, so it is given back once."""
        headers = {"Idempotency-Key": f"refund-{payment_id}"}
        await self._call("POST", "/v1/refunds", _id, json={"payment_intent": payment_id}, headers=headers)

    async def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T],
        *,
        headers: dict[str, str] | None = None,
        json: object = None,
    ) -> T:
        """The result of `read` for the body of an accepted request. Raises `_Refusal` too."""
        answer = await self._answer(method, path, headers or {}, orjson.dumps(json) if json is not None else b"")
        try:
            found = _read(answer, read)
        except (ValueError, KeyError, TypeError) as error:
            self._breaker.failed()
            log.warning("payment provider: unusable answer", extra={"status": answer.status, "answer": answer.text})
            raise unavailable(_PROVIDER) from error
        except ShopError:
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        return found

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Answer:
        with self._telemetry.span(
            f"{method} {path}",
            SpanKind.CLIENT,
            protocol="HTTP",
            peer=_PROVIDER,
            attributes={"http.request.method": method},
        ) as span:
            budget = self._budget(span)
            carried = {"traceparent": current_traceparent(), "Content-Type": "application/json", **headers}
            try:
                async with (
                    asyncio.timeout(budget),
                    self._http.request(
                        method, self._url + path, headers=carried, data=body, allow_redirects=False
                    ) as response,
                ):
                    answer = _Answer(response.status, await response.read())
            except TimeoutError as error:
                self._breaker.failed()
                raise timed_out(_PROVIDER) from error
            except aiohttp.ClientError as error:
                self._breaker.failed()
                raise unavailable(_PROVIDER) from error
            if self._telemetry.capture is not None:
                keep_aiohttp_response(span, response, answer.content)
            span.set_attribute("http.response.status_code", answer.status)
            span.set_attribute("shop.bytes.sent", len(body))
            span.set_attribute("shop.bytes.received", len(answer.content))
            return answer

    def _budget(self, span: Span) -> float:
        """Seconds for a call; refuses one that has no time or no chance."""
        if not self._breaker.allows_call():
            span.set_attribute(NOTE, "breaker_open")
            raise unavailable(_PROVIDER, retry_after=self._breaker.retry_after())
        left = time_left()
        budget = self._timeout if left is None else min(left, self._timeout)
        if budget <= 0:
            raise timed_out(_PROVIDER)
        return budget


def _read(answer: _Answer, read: Callable[[Any], T]) -> T:
    """The result of an accepted request. Raises `_Refusal`, or UPSTREAM_UNAVAILABLE where the provider is busy.

    Raises `ValueError`, `KeyError` or `TypeError` for an answer outside the API: of a server before the provider, or of
    a provider that is failing.
    """
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return read(orjson.loads(answer.content))
    if answer.status == HTTPStatus.CONFLICT and answer.error_code != _ORDER_CLOSED:
        raise unavailable(_PROVIDER)  # the same request is under way
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise unavailable(_PROVIDER)
    if HTTPStatus.BAD_REQUEST <= answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and answer.error_code:
        raise _Refusal(answer)
    raise ValueError(f"status {answer.status}")


def _of_payment(order: Order, refusal: _Refusal) -> ShopError:
    """The order's error for a refused payment."""
    if refusal.answer.status == HTTPStatus.PAYMENT_REQUIRED:
        return ShopError("PAYMENT_DECLINED", "the payment was declined", Kind.PRECONDITION)
    if refusal.answer.status in (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
        # The same request will be refused for ever: the order cannot be paid.
        log.error("payment provider: payment refused", extra={"order_id": order.id, "answer": refusal.answer.text})
        return ShopError("PAYMENT_REFUSED", "the payment provider refused the payment", Kind.PRECONDITION)
    return refusal


def _id(body: Any) -> str:
    found = body["id"]
    if not isinstance(found, str) or not found:
        raise ValueError("the answer has no id")
    return found


def _collected(body: Any) -> list[str]:
    """The ids of an order's payments that were collected."""
    payments = body["data"]
    if not isinstance(payments, list):
        raise TypeError("the answer has no list of payments")
    return [_id(payment) for payment in payments if payment["status"] == "succeeded"]

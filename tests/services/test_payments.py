"""Orders' client of the payment provider, against the provider's own process code over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chassis.broker.consumer import RETRY_DELAYS, Retry, decide
from chassis.errors import Kind, ShopError
from chassis.observability.telemetry import telemetry
from chassis.resilience.deadlines import CircuitBreaker, deadline_in
from partners.payment_provider.bootstrap import Settings, run
from services.orders.domain import DELAYED, Item, Order, Outcome, Status
from services.orders.payments.provider import HttpPayments, provider_session
from services.orders.ports import OrderStore
from services.orders.saga import Saga
from tests.waiting import eventually

ORDER = Order(
    "o1",
    "u1",
    Status.PENDING,
    "",
    (Item("42", "Keyboard", 1, Decimal("89.00")),),
    Decimal("89.00"),
    "EUR",
    datetime(2026, 3, 1, tzinfo=UTC),
)


@asynccontextmanager
async def provider(directory: Path, *, delay: float) -> AsyncIterator[tuple[HttpPayments, httpx.AsyncClient]]:
    """A payment provider whose webhooks are not received, orders' client of it, and a plain client."""
    fixed: dict[str, Any] = {"data_dir": directory, "otlp_url": "", "payment_port": 0, "webhook_secret_stripe": "s"}
    settings = Settings(**fixed, payment_delay=delay, webhooks_url="http://127.0.0.1:1")
    async with (
        run(settings) as running,
        _client(f"http://127.0.0.1:{running.port}/") as payments,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=60) as http,
    ):
        yield payments, http


@asynccontextmanager
async def _client(url: str, **changes: Any) -> AsyncIterator[HttpPayments]:
    async with telemetry("test", "", sample_ratio=0) as spans, provider_session(spans) as session:
        yield HttpPayments(session, url, spans, **changes)


async def payments_of(http: httpx.AsyncClient) -> list[tuple[str, int]]:
    found = (await http.get("/v1/payment_intents")).json()["data"]
    return [(each["status"], each["amount_refunded"]) for each in found]


async def test_what_was_collected_for_an_ended_order_is_refunded_once(tmp_path: Path) -> None:
    """Cancelling the payments of an order gives back all that was collected, however often it is repeated."""
    async with provider(tmp_path, delay=0.01) as (payments, http):
        await payments.request(ORDER)

        async def collected() -> bool:
            return await payments_of(http) == [("succeeded", 0)]

        await eventually(collected)
        for _ in range(3):
            await payments.cancel(ORDER.id)
        assert await payments_of(http) == [("refunded", 8_900)]
        assert len((await http.get("/v1/refunds")).json()["data"]) == 1


async def test_a_request_that_arrives_after_the_cancellation_takes_no_money(tmp_path: Path) -> None:
    """A request for payment that the network held up until the order was cancelled is refused, for good."""
    async with provider(tmp_path, delay=0.01) as (payments, http):
        await payments.cancel(ORDER.id)
        with pytest.raises(ShopError) as refused:
            await payments.request(ORDER)
        assert (refused.value.code, refused.value.kind) == ("PAYMENT_REFUSED", Kind.PRECONDITION)
        assert await payments_of(http) == []


@pytest.mark.parametrize(
    ("total", "currency", "minor"), [("500", "JPY", 500), ("5.00", "EUR", 500), ("1.234", "KWD", 1_234)]
)
async def test_the_provider_is_asked_for_minor_units(tmp_path: Path, total: str, currency: str, minor: int) -> None:
    """An amount goes out as a whole number of its currency's minor units (ISO 4217): 500 JPY are 500."""
    async with provider(tmp_path, delay=3_600) as (payments, http):
        await payments.request(replace(ORDER, total=Decimal(total), currency=currency))
        (payment,) = (await http.get("/v1/payment_intents")).json()["data"]
        assert (payment["amount"], payment["currency"]) == (minor, currency.lower())


async def test_what_the_provider_cannot_take_is_a_refusal(tmp_path: Path) -> None:
    """A request that the provider answers with 400 will be refused for ever: the order is rejected, not retried."""
    async with provider(tmp_path, delay=3_600) as (payments, _):
        beyond = replace(ORDER, total=Decimal("9999999.00"))
        with pytest.raises(ShopError) as refused:
            await payments.request(beyond)
        assert (refused.value.code, refused.value.kind) == ("PAYMENT_REFUSED", Kind.PRECONDITION)


class Failing:
    """Fake: a provider that fails in one way until it is `well`, and counts what reaches it.

    It answers with a status, or leaves without an answer (0).
    """

    def __init__(self, failure: int) -> None:
        self.well = False
        self.reached = 0
        self._failure = failure

    async def __call__(self, request: web.Request) -> web.Response:
        self.reached += 1
        if self.well:
            return web.json_response({"id": "pi_1"}, status=201)
        if not self._failure:
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=self._failure or 500)


class Answering:
    """Stub: a provider with one answer to everything; counts what reaches it."""

    def __init__(self, status: int, body: str) -> None:
        self.reached = 0
        self._answer = (status, body)

    async def __call__(self, _: web.Request) -> web.Response:
        self.reached += 1
        status, body = self._answer
        return web.Response(status=status, text=body)


@asynccontextmanager
async def client_of(
    provider: Callable[[web.Request], Awaitable[web.Response]], **changes: Any
) -> AsyncIterator[HttpPayments]:
    """Orders' client of a fake provider."""
    app = web.Application()

    async def serve(request: web.Request) -> web.Response:
        return await provider(request)

    app.router.add_post("/{path:.*}", serve)
    async with TestServer(app) as server, _client(str(server.make_url("/")), **changes) as payments:
        # Of a breaker that is open, none recovers while a busy machine makes the next call.
        payments._breaker = CircuitBreaker(recovery=60.0)
        yield payments


@pytest.mark.parametrize("failure", [0, 500, 503])
async def test_a_provider_that_keeps_failing_is_left_alone(failure: int) -> None:
    """After eight failures in a row calls are refused at once, and one now and then finds out that it is back."""
    provider = Failing(failure)
    now = 0.0
    async with client_of(provider) as payments:
        payments._breaker = CircuitBreaker(clock=lambda: now)
        for _ in range(8):
            with pytest.raises(ShopError) as refused:
                await payments.request(ORDER)
            assert refused.value.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT)
        with pytest.raises(ShopError) as refused:
            await payments.request(ORDER)
        assert (refused.value.code, provider.reached) == ("UPSTREAM_UNAVAILABLE", 8)
        assert refused.value.retry_after
        provider.well = True
        now += refused.value.retry_after
        assert await payments.request(ORDER) == "pi_1"
        assert provider.reached == 9


async def test_refusals_do_not_open_the_breaker() -> None:
    """A provider that refuses is there: however often, the next call reaches it."""
    provider = Answering(402, '{"error": {"type": "card_error", "code": "card_declined"}}')
    async with client_of(provider) as payments:
        for _ in range(20):
            with pytest.raises(ShopError) as refused:
                await payments.request(ORDER)
            assert refused.value.code == "PAYMENT_DECLINED"
        assert provider.reached == 20


# What no answer of the provider's API is, but one of a server before it: of a wrong address, of a page for maintenance.
FOREIGN = [
    pytest.param(200, "<html>back soon</html>", id="page"),
    pytest.param(200, "{}", id="empty"),
    pytest.param(200, "[]", id="list"),
    pytest.param(200, '{"id": 7, "data": [{"id": 7, "status": "succeeded"}]}', id="id-number"),
    pytest.param(200, '{"id": "", "data": "none"}', id="data-text"),
    pytest.param(302, "", id="redirect"),
    pytest.param(404, "no such page", id="missing"),
    pytest.param(400, "<html>plain HTTP request sent to HTTPS port</html>", id="page with 400"),
    pytest.param(403, "<html>forbidden</html>", id="page with 403"),
    pytest.param(422, "[]", id="list with 422"),
    pytest.param(408, "", id="timeout"),
]


@pytest.mark.parametrize(("status", "body"), FOREIGN)
async def test_answer_that_the_api_does_not_have_is_an_outage(status: int, body: str) -> None:
    """It counts as no answer: each call is to be tried again, and after eight the provider is left alone."""
    provider = Answering(status, body)
    async with client_of(provider) as payments:
        for call in (lambda: payments.request(ORDER), lambda: payments.cancel(ORDER.id)):
            for _ in range(4):
                with pytest.raises(ShopError) as failed:
                    await call()
                assert failed.value.code == "UPSTREAM_UNAVAILABLE"
        with pytest.raises(ShopError):
            await payments.request(ORDER)
        assert provider.reached == 8


async def test_refund_that_is_not_confirmed_is_tried_again() -> None:
    """A page in the place of a refund is no refund."""

    async def half_there(request: web.Request) -> web.Response:
        if request.path == "/v1/refunds":
            return web.Response(text="<html>back soon</html>")
        return web.json_response({"data": [{"id": "pi_1", "status": "succeeded"}]})

    async with client_of(half_there) as payments:
        with pytest.raises(ShopError) as failed:
            await payments.cancel(ORDER.id)
    assert failed.value.code == "UPSTREAM_UNAVAILABLE"


async def test_request_that_is_under_way_already_is_tried_again() -> None:
    """A conflict of two equal requests (409) is over once the first has its answer: the order is not rejected."""
    busy = '{"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}}'
    async with client_of(Answering(409, busy)) as payments:
        with pytest.raises(ShopError) as failed:
            await payments.request(ORDER)
    assert failed.value.code == "UPSTREAM_UNAVAILABLE"


async def test_what_the_provider_does_not_have_is_a_refusal() -> None:
    """A 404 in the API's own form is the provider's answer, and would be the same again."""
    body = '{"error": {"type": "invalid_request_error", "code": "resource_missing"}}'
    async with client_of(Answering(404, body)) as payments:
        with pytest.raises(ShopError) as failed:
            await payments.cancel(ORDER.id)
    assert (failed.value.code, failed.value.kind) == ("PAYMENT_REFUSED", Kind.INTERNAL)


class OneOrder:
    """Fake: a store of one order."""

    def __init__(self, order: Order) -> None:
        self.order = order

    async def get(self, _: str) -> Order:
        return self.order

    async def change(self, _: str, decide: Callable[[Order], Outcome]) -> Order:
        self.order, _event = decide(self.order)
        return self.order


@pytest.mark.parametrize(("status", "body"), FOREIGN)
async def test_order_is_delayed_by_a_foreign_answer(status: int, body: str) -> None:
    """The order waits, its customer learns that it is delayed, and its event never becomes a dead letter."""
    store = OneOrder(ORDER)
    async with client_of(Answering(status, body)) as payments:
        later = ORDER.placed_at + timedelta(minutes=2)
        saga = Saga(cast("OrderStore", store), AsyncMock(), AsyncMock(), payments, clock=lambda: later)
        with pytest.raises(ShopError) as failed:
            await saga.process(ORDER.id)
    assert (store.order.status, store.order.status_reason) == (Status.PENDING, DELAYED)
    assert isinstance(decide(failed.value, attempt=1_000, retry_delays=RETRY_DELAYS), Retry)


@asynccontextmanager
async def _set_at_the_end(event: asyncio.Event) -> AsyncIterator[None]:
    """Else the server would wait for its handlers."""
    try:
        yield
    finally:
        event.set()


async def test_a_provider_that_answers_too_slowly_is_given_up() -> None:
    """A call ends with its caller's deadline, or its own, whichever comes first."""
    never = asyncio.Event()

    async def hangs(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response(status=201)

    async with client_of(hangs, timeout=0.05) as payments, _set_at_the_end(never):
        for _ in range(8):
            with pytest.raises(ShopError) as late:
                await payments.request(ORDER)
            assert late.value.code == "DEADLINE_EXCEEDED"
        with pytest.raises(ShopError) as refused:
            await payments.request(ORDER)
        assert refused.value.code == "UPSTREAM_UNAVAILABLE"
    never.clear()
    async with client_of(hangs, timeout=60) as payments, _set_at_the_end(never):
        with deadline_in(0.05), pytest.raises(ShopError) as late:
            await payments.request(ORDER)
        assert late.value.code == "DEADLINE_EXCEEDED"


async def test_a_provider_that_is_not_there_is_unavailable() -> None:
    """A connection that is refused says that the provider is away."""
    async with _client("http://127.0.0.1:1") as payments:
        with pytest.raises(ShopError) as refused:
            await payments.request(ORDER)
    assert refused.value.code == "UPSTREAM_UNAVAILABLE"


@pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/refunds"])
@pytest.mark.parametrize(
    "body", [b'{"payment_intent": "\\ud800"}', b'{"amount": NaN}', b"\xff", '{"a": 1}'.encode("utf-16")]
)
async def test_the_provider_takes_json_only(tmp_path: Path, path: str, body: bytes) -> None:
    """A lone surrogate, a number that is none and another encoding are 400, as all that is no JSON (RFC 8259)."""
    async with provider(tmp_path, delay=3_600) as (_, http):
        answer = await http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter_invalid")


async def test_an_empty_order_has_no_payments(tmp_path: Path) -> None:
    """A filter by an order without a name finds nothing, not the payments of all: `shop partner pay ""` pays none."""
    async with provider(tmp_path, delay=60) as (payments, http):
        await payments.request(ORDER)
        for path in ("payment_intents", "refunds"):
            assert (await http.get(f"/v1/{path}?order_id=")).json()["data"] == []
        assert await payments_of(http) == [("processing", 0)]

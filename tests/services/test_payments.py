"""Orders' client of the payment provider, against the provider's own process code over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chassis.errors import Kind, ShopError
from chassis.observability.telemetry import telemetry
from chassis.resilience.deadlines import deadline_in
from partners.payment_provider.bootstrap import Settings, run
from services.orders.domain import Item, Order, Status
from services.orders.payments.provider import HttpPayments, provider_session
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
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as http,
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


@asynccontextmanager
async def client_of(
    provider: Callable[[web.Request], Awaitable[web.Response]], **changes: Any
) -> AsyncIterator[HttpPayments]:
    """Orders' client of a fake provider."""
    app = web.Application()

    async def serve(request: web.Request) -> web.Response:
        return await provider(request)

    app.router.add_post("/v1/payment_intents", serve)
    async with TestServer(app) as server, _client(str(server.make_url("/")), **changes) as payments:
        yield payments


@pytest.mark.parametrize("failure", [0, 500, 503])
async def test_a_provider_that_keeps_failing_is_left_alone(failure: int) -> None:
    """After eight failures in a row calls are refused at once, and one now and then finds out that it is back."""
    provider = Failing(failure)
    async with client_of(provider) as payments:
        for _ in range(8):
            with pytest.raises(ShopError) as refused:
                await payments.request(ORDER)
            assert refused.value.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT)
        with pytest.raises(ShopError) as refused:
            await payments.request(ORDER)
        assert (refused.value.code, provider.reached) == ("UPSTREAM_UNAVAILABLE", 8)
        assert refused.value.retry_after
        provider.well = True

        async def is_asked_again() -> bool:
            try:
                return await payments.request(ORDER) == "pi_1"
            except ShopError:
                return False

        assert await eventually(is_asked_again)
        assert provider.reached == 9


async def test_refusals_do_not_open_the_breaker() -> None:
    """A provider that refuses is there: however often, the next call reaches it."""
    provider = Failing(402)
    async with client_of(provider) as payments:
        for _ in range(20):
            with pytest.raises(ShopError) as refused:
                await payments.request(ORDER)
            assert refused.value.code == "PAYMENT_DECLINED"
        assert provider.reached == 20


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

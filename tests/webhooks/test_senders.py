"""The partners' stand-ins: well behaved, and with each fault on demand."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from partners import senders
from partners.senders import Fault
from partners.sending import post_all
from services.orders import domain as orders
from tests.waiting import eventually
from tests.webhooks.conftest import SECRETS, FakeShop, Receiver
from webhooks.incoming import http_api

EVERY_PROVIDER = pytest.mark.parametrize("provider", senders.PROVIDERS)


async def answers(
    receiver: Receiver, provider: str, fault: Fault | None, *, slow_seconds: float = 0.3, **content: Any
) -> list[int]:
    webhooks = senders.examples(provider, secret=SECRETS[provider], fault=fault, **content)
    sent = await post_all(str(receiver.http.base_url), webhooks, fault=fault, slow_seconds=slow_seconds)
    return [answer.status for answer in sent]


@EVERY_PROVIDER
async def test_a_duplicate_is_accepted_and_takes_effect_once(receiver: Receiver, provider: str) -> None:
    """Each event comes twice and is answered 200 twice; the shop is called once."""
    assert await answers(receiver, provider, Fault.DUPLICATE, count=3) == [200] * 6
    await eventually(lambda: len(receiver.shop.told) == 3)
    assert len(await receiver.rows()) == 3


@EVERY_PROVIDER
async def test_a_forged_event_is_refused(receiver: Receiver, provider: str) -> None:
    """What was signed with another secret is answered 401 and not kept."""
    assert await answers(receiver, provider, Fault.FORGED) == [401]
    assert await receiver.rows() == []


@pytest.mark.parametrize("provider", ["stripe", "standard"])
async def test_a_late_event_is_refused(receiver: Receiver, provider: str) -> None:
    """What was signed ten minutes ago is answered 401."""
    assert await answers(receiver, provider, Fault.LATE) == [401]


@pytest.mark.parametrize("provider", ["github", "shopify"])
def test_what_has_no_time_cannot_be_late(provider: str) -> None:
    """The fault is refused where the scheme signs no time."""
    with pytest.raises(ValueError, match="signs no time"):
        senders.examples(provider, secret="secret", fault=Fault.LATE)


@EVERY_PROVIDER
async def test_a_slow_event_is_accepted(receiver: Receiver, provider: str) -> None:
    """A body that comes in ten pieces over a while is waited for."""
    assert await answers(receiver, provider, Fault.SLOW) == [200]


@EVERY_PROVIDER
async def test_a_slow_event_holds_up_no_other(
    receiver: Receiver, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a body is still on its way, another event is answered."""
    reading = asyncio.Event()
    read = http_api._body

    async def noted(request: Request) -> bytes:
        reading.set()
        return await read(request)

    monkeypatch.setattr(http_api, "_body", noted)
    monkeypatch.setattr(http_api, "_BODY_SECONDS", 120)
    slow = asyncio.create_task(answers(receiver, provider, Fault.SLOW, slow_seconds=120))
    try:
        await asyncio.wait_for(reading.wait(), 30)
        assert await answers(receiver, provider, None) == [200]
        assert not slow.done()
    finally:
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


async def test_a_flood_is_accepted(receiver: Receiver) -> None:
    """Three hundred events over 32 connections are all accepted, and each takes effect once."""
    assert Counter(await answers(receiver, "stripe", Fault.FLOOD, count=300)) == {200: 300}
    await eventually(lambda: len(receiver.shop.told) == 300, within=30)
    assert len({payment for _, _, payment in receiver.shop.told}) == 300


class OneOrder(FakeShop):
    """A shop with one order that waits for its payment, and the real order's rules about what may happen to it."""

    def __init__(self, order: orders.Order) -> None:
        super().__init__()
        self.order = order

    async def mark_paid(self, order_id: str, payment_id: str) -> None:
        self.order, _ = orders.mark_paid(self.order, payment_id)
        await super().mark_paid(order_id, payment_id)

    async def mark_payment_failed(self, order_id: str, payment_id: str, reason: str) -> None:
        self.order, _ = orders.fail_payment(self.order, payment_id, reason)
        await super().mark_payment_failed(order_id, payment_id, reason)


def _told(shop: FakeShop, times: int) -> bool:
    return len(shop.told) == times


async def test_out_of_order_changes_nothing(start: Any) -> None:
    """A failed payment's webhook that comes after its success leaves the order paid, and is no failure of ours."""
    placed, _ = orders.place(
        orders.Order("77", "123", orders.Status.PENDING, "", [], Decimal(1), "EUR", datetime(2026, 3, 1, tzinfo=UTC))
    )
    confirmed, _ = orders.confirm(placed, "pi_77")
    shop = OneOrder(confirmed)
    async with start(shop=shop) as receiver:
        webhooks = senders.examples(
            "stripe", secret=SECRETS["stripe"], fault=Fault.OUT_OF_ORDER, order_id="77", payment_id="pi_77"
        )
        first, second = webhooks
        for number, webhook in enumerate((first, second), 1):
            (answer,) = await post_all(str(receiver.http.base_url), [webhook])
            assert answer.status == 200
            await eventually(partial(_told, shop, number))
        assert [told[0] for told in shop.told] == ["paid", "payment failed"]
        assert (shop.order.status, shop.order.version) == (orders.Status.PAID, 3)

        async def both_processed() -> bool:
            return [row["status"] for row in await receiver.rows()] == ["processed"] * 2

        await eventually(both_processed)
        assert await receiver.dead_letters() == []


async def test_the_command_sends_and_says_what_was_answered(receiver: Receiver) -> None:
    """`shop partner send` exits 0 for what was answered as it should be, 2 for a fault or a receiver that cannot be."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SHOP_")},
        **{f"SHOP_WEBHOOK_SECRET_{provider.upper()}": secret for provider, secret in SECRETS.items()},
        "SHOP_WEBHOOKS_URL": str(receiver.http.base_url),
    }

    async def send(*arguments: str) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shop", "partner", "send", *arguments, env=environment, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()
        said.append(printed.decode())
        return process.returncode or 0

    said: list[str] = []
    codes = await asyncio.gather(
        send("github", "--count", "3"),
        send("stripe", "--fault", "forged"),
        send("shopify", "--fault", "late"),
        send("stripe", "--event", "payment_intent.payment_failed", "--order", "5", "--fault", "duplicate"),
    )
    assert list(codes) == [0, 0, 2, 0]
    assert any("1 x forged: refused as it should be, 401 BAD_SIGNATURE: " in each for each in said)
    environment["SHOP_WEBHOOKS_URL"] = "http://127.0.0.1:1"
    assert await send("github") == 2, "nothing listens there"
    await eventually(lambda: len(receiver.shop.told) == 4)
    assert {told[0] for told in receiver.shop.told} == {"refreshed", "payment failed"}


async def test_an_order_is_paid_by_hand(tmp_path: Any) -> None:
    """`shop partner pay ORDER --fail` lets the order's payment fail; for an order without one it exits 1."""
    from partners.payment_provider.bootstrap import Settings, run

    settings = Settings(
        data_dir=tmp_path, otlp_url="", payment_port=0, payment_delay=3_600, webhook_secret_stripe="secret",
        webhooks_url="http://127.0.0.1:9",
    )  # fmt: skip
    async with run(settings) as running:
        url = f"http://127.0.0.1:{running.port}"
        environment = {**os.environ, "SHOP_PAYMENT_URL": url}

        async def pay(*arguments: str) -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "shop", "partner", "pay", *arguments,
                env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            output, _ = await process.communicate()
            return process.returncode or 0, output.decode()

        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            body = {"amount": 100, "currency": "eur", "metadata": {"order_id": "77"}}
            intent = (await client.post("/v1/payment_intents", json=body)).json()["id"]
            assert await pay("77", "--fail") == (0, f"{intent}: failed\n")
            assert await pay("77") == (0, f"{intent}: succeeded\n")
            assert (await pay("unknown"))[0] == 1


def test_the_commands_faults_are_the_senders() -> None:
    """The command line offers every fault and every provider that there is."""
    from shop.commands.partners import partner

    assert [fault.value for fault in partner.Fault] == [fault.value for fault in Fault]
    assert tuple(provider.value for provider in partner.Provider) == senders.PROVIDERS

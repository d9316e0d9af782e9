"""Money that is collected for an order which has ended is given back, once, whenever it arrives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chassis.settings import environment
from partners.senders import stripe
from shop.audit import Settings, audit_running_shop
from shop.audit.findings import State
from shop.process_table import Scheme
from tests.journey.late_money import books_of, ended_order, history, pay_late, settled
from tests.shop import Shop
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_money_that_comes_after_the_end_is_given_back(shop: Shop) -> None:
    """A payment collected for an order that has ended is refunded by its webhook, and the books agree."""
    order_id = await ended_order(shop)
    late = await pay_late(shop, order_id)

    async def given_back() -> bool:
        payments, _ = await books_of(shop, order_id)
        return [(each["id"], each["status"]) for each in payments] == [(late["id"], "refunded")]

    await eventually(given_back, within=60)
    await settled(shop)
    _, refunds = await books_of(shop, order_id)
    assert [(each["payment_intent"], each["amount"]) for each in refunds] == [(late["id"], late["amount"])]
    assert await history(shop, order_id) == ["order.placed", "order.rejected", "order.refund_due"]
    assert await shop.status(order_id) == "rejected"


async def test_news_that_is_repeated_gives_back_once(shop: Shop) -> None:
    """The same payment, reported ten times at once under other ids, is given back once; the audit names the doubles."""
    order_id = await ended_order(shop)
    late = await pay_late(shop, order_id)
    url = f"{shop.address('SHOP_PAYMENT_URL')}/v1/payment_intents/{late['id']}"

    async def collected() -> dict[str, Any] | None:
        payment: dict[str, Any] = (await shop.http.get(url)).json()
        return payment if payment["status"] != "processing" else None

    payment = await eventually(collected, within=60)
    secret = shop.around.secrets[Scheme.STRIPE.setting]
    told = [stripe("payment_intent.succeeded", payment, secret=secret) for _ in range(10)]
    webhooks = f"{shop.address('SHOP_WEBHOOKS_URL')}/webhooks/stripe"
    answers = await asyncio.gather(
        *(shop.http.post(webhooks, content=each.body, headers=dict(each.headers)) for each in told)
    )
    assert {answer.status_code for answer in answers} == {200}
    with environment(shop.around.shared):
        settings = Settings()

    async def at_rest() -> list[str]:
        report = await audit_running_shop(settings, wait=0)
        found = [entry.what for entry in report.differences]
        return found if not report.found[State.IN_FLIGHT] and "has 11 webhooks" in " ".join(found) else []

    assert await eventually(at_rest, within=30) == ["the webhook store has 11 webhooks payment_intent.succeeded"]
    _, refunds = await books_of(shop, order_id)
    assert [(each["payment_intent"], each["amount"]) for each in refunds] == [(late["id"], late["amount"])]
    assert await history(shop, order_id) == ["order.placed", "order.rejected", "order.refund_due"]

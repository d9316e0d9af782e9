"""Payments that are collected after their order has ended."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

from chassis.currency import to_minor
from chassis.settings import environment
from shop.audit import Settings, audit_running_shop
from shop.audit.report import as_text
from tests.shop import Shop


async def settled(shop: Shop) -> None:
    with environment(shop.around.shared):
        settings = Settings()
    report = await audit_running_shop(settings, wait=60)
    assert report.at_rest, as_text(report)


def forget_the_end(shop: Shop, order_id: str) -> None:
    """Make the provider one that does not get the order's end, like those that cannot close an order."""
    with closing(sqlite3.connect(shop.around.data_dir / "payment_provider.sqlite", timeout=10)) as books, books:
        assert books.execute("DELETE FROM closed_orders WHERE order_id = ?", (order_id,)).rowcount == 1


async def history(shop: Shop, order_id: str) -> list[str]:
    response = await shop.http.get(f"/v1/orders/{order_id}/events", headers=await shop.bearer())
    return [event["type"] for event in response.json()["items"]]


async def books_of(shop: Shop, order_id: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The provider's payments and refunds of an order."""
    url, about = shop.address("SHOP_PAYMENT_URL"), {"order_id": order_id}
    payments = (await shop.http.get(f"{url}/v1/payment_intents", params=about)).json()["data"]
    refunds = (await shop.http.get(f"{url}/v1/refunds", params=about)).json()["data"]
    return payments, refunds


async def ended_order(shop: Shop) -> str:
    """An order that was rejected, for there are three pieces, and undone; no payment was requested."""
    order_id = str((await shop.place(("7", 4))).json()["id"])
    await settled(shop)
    assert await shop.status(order_id) == "rejected"
    return order_id


async def pay_late(shop: Shop, order_id: str) -> dict[str, Any]:
    """A request for payment that arrives now, at a provider that cannot refuse it."""
    forget_the_end(shop, order_id)
    url, order = shop.address("SHOP_PAYMENT_URL"), await shop.order(order_id)
    amount = to_minor(Decimal(order["total"]), order["currency"])
    asked = {"amount": amount, "currency": "eur", "metadata": {"order_id": order_id}}
    payment: dict[str, Any] = (await shop.http.post(f"{url}/v1/payment_intents", json=asked)).json()
    return payment

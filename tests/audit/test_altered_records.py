"""Each kind of record removed, doubled or altered in its own database, in a running shop: the audit names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from sqlalchemy import text as sql

from shop.audit.findings import State
from shop.audit.report import as_text
from tests.audit.alterations import Place, altered, changing, doubled, fact, other, removed, rewritten, values
from tests.audit.quiet import (
    Quiet,
    a_mail,
    accounts,
    articles,
    events,
    figures,
    lines,
    orders,
    payments,
    reading,
    reservations,
    sales,
    settles,
    shipments,
    stock,
    webhooks,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def in_body(name: str, value: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A webhook whose payment says something else."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        body = json.loads(row["body"])
        body["data"]["object"][name] = value
        return {**row, "body": json.dumps(body).encode()}

    return change


def more(number: Any) -> Any:
    return number + 1_000_000


# What is done -> to which rows, how, and what the audit says of it then.
ALTERED: dict[str, tuple[Callable[[Quiet], Place], Callable[[dict[str, Any]], Any], str]] = {
    "order removed": (orders, removed, "the orders service has no such order, but inventory, the ERP"),
    "order's total": (orders, values(total_minor=178_000), "its total is 1780.00 EUR, but its lines come to 178"),
    "order's currency": (orders, values(currency="USD"), "'EUR', the order has 'USD'"),
    "order's customer": (orders, values(user_id="124"), "the order has '124'"),
    "order's lines": (orders, values(items='[["42","Keyboard",1,"89.00"]]'), "the ERP has the lines 2 x 42 at 89"),
    "order's status": (orders, values(status="cancelled"), "it is cancelled, but its history is"),
    "order's payment": (orders, values(payment_id="pi_other"), "is not pi_other, which the order names"),
    "order called a demo order": (orders, values(demo=True), "the orders service has no such order"),
    "event removed": (lambda q: events(q, "order.paid"), removed, "its history has gaps or doubles: [1, 2, 4]"),
    "event's fact": (lambda q: events(q, "order.placed"), fact("data", "total", "1.00"), "has the total '1'"),
    "event's type": (lambda q: events(q, "order.paid"), values(type="order.held"), "its history is order.placed"),
    "reservation removed": (reservations, removed, "inventory has no reservation"),
    "reservation's pieces": (reservations, values(lines='[["42", 3]]'), "its reservation is of {'42': 3}"),
    "reservation's state": (reservations, values(state="held"), "its reservation is held"),
    "stock": (stock, lambda row: {**row, "available": row["available"] - 1}, "is not the 100 that came in"),
    "sales order removed": (sales, removed, "the ERP has no sales order"),
    "sales order's customer": (sales, values(cust_no="124"), "the ERP has the customer 124"),
    "sales order's currency": (sales, values(currency="USD"), "the ERP has the currency USD"),
    "sales order's state": (sales, values(status="10"), "the ERP's sales order is open"),
    "line removed": (lines, removed, "the ERP has the lines , the order 2 x 42 at 89"),
    "line's quantity": (lines, values(quantity=20), "the ERP has the lines 20 x 42 at 89"),
    "line's price": (lines, values(unit_cents=89), "the ERP has the lines 2 x 42 at 0.89"),
    "shipment removed": (shipments, removed, "the ERP has the shipments []"),
    "shipment's number": (shipments, values(no=77), "the ERP has the shipments ['0000000077']"),
    "ERP's stock": (articles, values(on_hand=1), "the ERP has 1, not 98"),
    "payment removed": (payments, removed, "the payment provider has no payment pi_"),
    "payment's amount": (payments, values(amount=178_000), "is of 178000 minor units of eur"),
    "payment's currency": (payments, values(currency="usd"), "is of 17800 minor units of usd"),
    "payment's order": (payments, values(order_id="none"), "the orders service has no such order"),
    "payment canceled": (payments, values(status="canceled"), "is canceled, the order is shipped"),
    "payment given back": (payments, values(status="refunded"), "is refunded, the order is shipped"),
    "webhook removed": (webhooks, removed, "the webhook store has no payment_intent.succeeded"),
    "webhook's amount": (webhooks, in_body("amount", 1), "has 1 minor units of eur"),
    "webhook's payment": (webhooks, in_body("id", "pi_other"), "is about payment pi_other"),
    "day's sales removed": (lambda q: figures(q, "day"), removed, "the sales report has 0 orders of 0 pieces for 0"),
    "day's revenue": (lambda q: figures(q, "day"), values(revenue_minor=100), "of 2 pieces for 1.00 EUR, the orders"),
    "product's pieces": (
        lambda q: figures(q, "product"),
        values(quantity=3),
        "sales of product 42: from",
    ),
    "customer's orders": (lambda q: figures(q, "customer"), values(orders=2), "sales to customer 123: from"),
    "account removed": (accounts, removed, "there is no account of its customer 123"),
    "account's address": (accounts, values(email="elsewhere@shop.test"), "the customer is elsewhere@shop.test"),
}

DOUBLED: dict[str, tuple[Callable[[Quiet], Place], dict[str, Callable[[Any], Any]], str]] = {
    "order": (orders, {"id": other, "idempotency_key": lambda _: None}, "but its history is empty"),
    "event": (
        lambda q: events(q, "order.shipped"), {"event_id": other, "position": more}, "gaps or doubles: [1, 2, 3, 4, 4]",
    ),
    "reservation": (reservations, {"order_id": other}, "the orders service has no such order, but inventory has it"),
    "sales order": (sales, {"no": more, "cust_ref": other}, "the orders service has no such order, but the ERP has it"),
    "line": (lines, {"pos": more}, "the ERP has the lines 2 x 42 at 89, 2 x 42 at 89"),
    "payment": (payments, {"id": other}, "the payment provider has 2 payments"),
    "webhook": (webhooks, {"id": other, "provider_event_id": other}, "the webhook store has 2 webhooks"),
}  # fmt: skip


async def says(quiet: Quiet, alteration: AbstractAsyncContextManager[None], words: str) -> None:
    """The audit names what was altered, and nothing once it is as it was."""
    async with alteration:
        report = await quiet.look()
        text = as_text(report)
        assert report.exit_code == 1, text
        assert words in text
    await settles(quiet)


@pytest.mark.parametrize("kind", sorted(ALTERED))
async def test_record_that_was_removed_or_altered_is_named(quiet: Quiet, kind: str) -> None:
    """One row of one database that is gone, or says something else, makes the audit fail and is named."""
    place, change, words = ALTERED[kind]
    await says(quiet, altered(quiet.shop, place(quiet), change), words)


@pytest.mark.parametrize("kind", sorted(DOUBLED))
async def test_record_that_was_doubled_is_named(quiet: Quiet, kind: str) -> None:
    """One row of one database that is there twice makes the audit fail and is named."""
    place, changes, words = DOUBLED[kind]
    await says(quiet, doubled(quiet.shop, place(quiet), **changes), words)


async def test_mail_that_was_removed_doubled_or_altered_is_named(quiet: Quiet) -> None:
    """A mail that is gone, is there twice, went to another recipient or is about another order is named."""
    path = a_mail(quiet, "shipped")
    content = path.read_bytes()
    async with rewritten(path, None):
        report = await quiet.look()
        # On RabbitMQ a consumer may hold its message: that is believed for a while, and no longer.
        assert "no mail shipped" in as_text(report)
        assert report.found[State.LOST] + (0 if quiet.embedded else report.found[State.IN_FLIGHT]) == 1
    await says(quiet, rewritten(path.with_name("copy.eml"), content), "2 times")
    elsewhere = content.replace(b"demo@shop.test", b"eve@shop.test")
    await says(quiet, rewritten(path, elsewhere), "went to eve@shop.test, the customer is demo@shop.test")
    handed_over = content.replace(b"demo@shop.test", b"mallory@shop.test", 1)
    assert handed_over.startswith(b'X-Envelope-To: ["mallory@shop.test"]')
    await says(quiet, rewritten(path, handed_over), "went to mallory@shop.test, the customer is demo@shop.test")
    about = content.replace(quiet.shipped.encode(), quiet.rejected.encode())
    await says(quiet, rewritten(path, about), "belongs to none of its events")
    kind = content.replace(b"X-Shop-Mail-Kind: shipped", b"X-Shop-Mail-Kind: rejected")
    await says(quiet, rewritten(path, kind), "is of the kind rejected, but its event is order.shipped")


async def test_refund_that_was_removed_doubled_or_altered_is_named(quiet: Quiet) -> None:
    """A refund for an order that was shipped is named, and so is a refund of another amount."""
    refunds = Place("payment_provider", "refunds", f"payment_intent = '{quiet.paid_by}'", ("id",))
    url = f"{quiet.shop.address('SHOP_PAYMENT_URL')}/v1/refunds"
    async with altered(quiet.shop, payments(quiet), values()):
        response = await quiet.shop.http.post(url, json={"payment_intent": quiet.paid_by, "amount": 100})
        assert response.status_code == 200
        assert "succeeded, 100 given back, the order is shipped" in as_text(await quiet.look())
        async with altered(quiet.shop, refunds, removed):
            assert "has 100 given back, its refunds come to 0" in as_text(await quiet.look())
        async with doubled(quiet.shop, refunds, id=other):
            assert "has 100 given back, its refunds come to 200" in as_text(await quiet.look())
        async with altered(quiet.shop, refunds, values(amount=7)):
            assert "has 100 given back, its refunds come to 7" in as_text(await quiet.look())
        async with altered(quiet.shop, refunds, values(currency="usd")):
            assert "is in usd, payment" in as_text(await quiet.look())
        async with changing(quiet.shop, "payment_provider") as connection:
            await connection.execute(
                sql("DELETE FROM refunds WHERE payment_intent = :paid_by"), {"paid_by": quiet.paid_by}
            )
    await settles(quiet)


async def test_sales_that_are_not_yet_read_are_no_difference(quiet: Quiet) -> None:
    """While the sales report is behind the event log, what it lacks is in flight; it differs once all is read."""

    def behind(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "read": row["read"] - 1}

    async with altered(quiet.shop, figures(quiet, "day"), values(revenue_minor=100)):
        async with altered(quiet.shop, reading(quiet), behind):
            report = await quiet.look()
            assert report.exit_code == 0, as_text(report)
            (entry,) = report.in_flight
            assert entry.what == "1 entries of the event log are not yet read, and it is behind"
        assert (await quiet.look()).exit_code == 1
    await settles(quiet)

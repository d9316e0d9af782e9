"""`shop order`: one order's story, as every system of the shop has it on record."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from chassis.errors import ShopError
from shop.audit.findings import Finding, verdict
from shop.audit.judgement import judge
from shop.audit.reading import Settings, read
from shop.audit.records import Order, Traces
from shop.audit.spool import spooling
from shop.errors import Refused
from shop.process_table import TABLE
from shop.supervisor.environment import running

_SHOWN = 200


def order(order_id: str, env: Mapping[str, str], *, as_json: bool) -> str | None:
    """The story; None where there is no such order. Raises `Refused` where the records cannot be read."""
    os.environ.update(running(TABLE, env).shared)
    try:
        found = asyncio.run(_found(Settings(), order_id))
    except (ShopError, httpx.HTTPError) as error:
        raise Refused(f'the records cannot be read: {error}. Is the shop running? ("shop status")') from error
    if isinstance(found, str):
        return json.dumps({"id": order_id, "demo": True}) if as_json else found
    if found is None:
        return None
    if as_json:
        return json.dumps(_as_dict(*found), indent=2, default=str)
    return "\n".join(_lines(*found))


async def _found(
    settings: Settings, order_id: str
) -> tuple[Order, Traces, list[Finding], Mapping[str, str]] | str | None:
    with spooling() as spool:
        library = await read(settings, spool)
        for each, traces in spool.orders():
            if each.id == order_id:
                return each, traces, judge(each, traces, library.circumstances()), dict(library.unread)
    if order_id in library.demo_orders:
        return (
            f"order {order_id} is demo data, which only the orders service has.\n"
            'An order with a story: "shop tour" places one.'
        )
    return None


def _lines(found: Order, traces: Traces, findings: list[Finding], unread: Mapping[str, str]) -> Iterator[str]:
    why = f" ({found.status_reason})" if found.status_reason else ""
    yield f"order {found.id}: {found.status}{why}"
    yield f"  customer  {found.user_id} {traces.email or ''}".rstrip()
    for item in found.items:
        yield f"  item      {item.quantity} x {item.product_id} at {item.unit_price}"
    yield f"  total     {found.total} {found.currency}"
    yield "history"
    for event in found.history:
        yield f"  {event.time:%F %T} UTC  {event.type}"
    for title, rows in _records(traces):
        yield title
        yield from (f"  {row}" for row in rows or ["none"])
    yield f"verdict: {verdict(findings)}"
    yield from (f"  {finding.what}"[:_SHOWN] for finding in findings)
    yield from (f"  not read: {book}: {reason}"[:_SHOWN] for book, reason in unread.items())


def _records(traces: Traces) -> Iterator[tuple[str, list[str]]]:
    yield "stock (inventory)", [f"{each.state}: {_products(each.lines)}" for each in traces.reservations]
    yield "sales order (ERP)", [" ".join([each.state, *each.shipments]) for each in traces.sales_orders]
    yield (
        "payment",
        [
            *(f"{each.id} {each.status}: {each.amount} {each.currency} (smallest unit)" for each in traces.payments),
            *(f"{each.id} refunds {each.amount} {each.currency} of {each.payment_id}" for each in traces.refunds),
        ],
    )
    yield (
        "webhooks received",
        [
            f"{each.received_at:%F %T} UTC  {each.provider} {each.type}: {each.outcome or each.status}"
            for each in traces.webhooks
        ],
    )
    yield "mails", [f"{each.kind} to {each.to}" for each in traces.mails]
    if traces.messages:
        yield "messages waiting", [f"{each.type} in {each.queue}, attempt {each.attempt}" for each in traces.messages]
    if traces.letters:
        yield "dead letters", [f"{each.id} {each.type} in {each.queue}: {each.reason}" for each in traces.letters]


def _products(lines: Mapping[str, int]) -> str:
    return ", ".join(f"{quantity} x {product}" for product, quantity in lines.items())


def _as_dict(found: Order, traces: Traces, findings: list[Finding], unread: Mapping[str, str]) -> dict[str, Any]:
    return {
        "order": dataclasses.asdict(found),
        **dataclasses.asdict(traces),
        "verdict": str(verdict(findings)),
        "findings": [finding.what for finding in findings],
        "unread": dict(unread),
    }

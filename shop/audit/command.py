"""The `shop audit` command: looks at a running shop as often as it takes, and prints what it found.

What only one of two looks has seen was on its way, for the books are read one after the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping

import httpx

from chassis.errors import ShopError
from shop.audit.findings import State, different
from shop.audit.judgement import judge, stranger
from shop.audit.reading import Library, Settings, read
from shop.audit.report import Report, as_dict, as_text, confirmed, keep_confirmed
from shop.audit.sales.comparison import judge_sales
from shop.audit.spool import spooling
from shop.audit.stock import judge_stock
from shop.errors import Refused
from shop.process_table import TABLE
from shop.supervisor.environment import running

_PAUSE = 0.3
_MAX_READINGS = 5


def audit_command(env: Mapping[str, str], *, wait: float, as_json: bool) -> tuple[str, int]:
    """The report and the exit code. Raises `Refused` when the orders cannot be read."""
    os.environ.update(running(TABLE, env).shared)
    try:
        report = asyncio.run(audit_running_shop(Settings(), wait=wait))
    except ShopError as error:
        raise Refused(_why(error)) from error
    except httpx.HTTPError as error:
        raise Refused(f"the audit cannot read the orders: {error}") from error
    return json.dumps(as_dict(report)) if as_json else as_text(report), report.exit_code


def _why(error: ShopError) -> str:
    """The cause of an audit that cannot begin, and what to do about it."""
    if error.code != "UPSTREAM_UNAVAILABLE":
        return f"the audit cannot read the orders: {error}"
    address = os.environ["SHOP_USERS_ADDRESS" if error.details.get("upstream") == "users" else "SHOP_ORDERS_ADDRESS"]
    return f'no shop is running here ({error.message} on {address}). Start one with "make up"'


async def audit_running_shop(settings: Settings, *, wait: float) -> Report:
    """Audit a running shop, for up to `wait` seconds until nothing is wrong or in flight.

    Raises `ShopError` where it cannot sign in, or the orders cannot be read.
    """
    deadline = time.monotonic() + wait
    while True:
        report = await _confirmed_look(settings)
        if report.at_rest or time.monotonic() >= deadline:
            return report
        await asyncio.sleep(_PAUSE)


async def _confirmed_look(settings: Settings) -> Report:
    report = before = await look(settings)
    for _ in range(_MAX_READINGS - 1):
        if report.exit_code == 0:
            return report
        await asyncio.sleep(_PAUSE)
        before, report = report, await look(settings)
        if confirmed(report, before):
            return report
    # Orders that never rest have each look see others of them half done.
    keep_confirmed(report, before)
    return report


async def look(settings: Settings) -> Report:
    """Read every book once, and judge."""
    with spooling() as spool:
        library = await read(settings, spool)
        around = library.circumstances()
        report = Report(
            demo_orders=len(library.demo_orders),
            unread=library.unread,
            mails_forgotten=library.mails_forgotten,
            mails_forgotten_until=library.mails_forgotten_until,
            webhooks_complete_since=library.webhooks_complete_since,
        )
        for order, traces in spool.orders():
            findings = judge(order, traces, around)
            report.judge(order.id, findings)
        for subject, traces in spool.strangers():
            report.add(subject, stranger(traces, around, demo=subject in library.demo_orders))
        if library.split:
            report.add("broker", [different(library.split)])
        settled = not report.found[State.IN_FLIGHT]
        for stock in spool.stock():
            report.add(stock.product_id, list(judge_stock(stock, library.promised, settled=settled)))
        _add_sales(report, library)
        return report


def _add_sales(report: Report, library: Library) -> None:
    sales = library.sales_report
    if sales is None:
        return
    for subject, finding in judge_sales(library.sold, sales):
        report.add(subject, [finding])
    report.sales_not_compared = library.sold.orders_before(sales.since)

"""The `shop audit` command: read the running shop's books, compare, and print."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping

import httpx

from chassis.errors import ShopError
from shop.audit import Report, as_dict, audit_running_shop
from shop.books import Settings
from shop.environment import survey
from shop.processes import TABLE
from shop.refusal import Refused


def audit_command(env: Mapping[str, str], *, wait: float, as_json: bool) -> tuple[str, bool]:
    """What to print, and whether the books agree. Raises `Refused` when a service does not answer."""
    os.environ.update(survey(TABLE, env).shared)
    try:
        report = asyncio.run(audit_running_shop(Settings(), wait=wait))
    except (ShopError, httpx.HTTPError) as error:
        raise Refused(f"the audit cannot read every book: {error}") from error
    return json.dumps(as_dict(report)) if as_json else _text(report), report.clean


def _text(report: Report) -> str:
    counted = "1 order" if report.orders == 1 else f"{report.orders} orders"
    lines = [f"{counted}, {len(report.in_flight)} still in flight"]
    lines += [f"  in flight: {order_id}" for order_id in report.in_flight]
    lines += [f"  {difference.subject}: {difference.what}" for difference in report.differences]
    lines.append("the books agree" if report.clean else f"the books differ in {len(report.differences)} places")
    return "\n".join(lines)

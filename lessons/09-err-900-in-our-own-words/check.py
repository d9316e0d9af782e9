"""With either ERP the same orders end in the same way, for the same reasons, in words of ours."""

import json
import os
import re
from typing import NamedTuple

from lessons import kit
from lessons.kit import FAULT, LIMIT, Broken, Process, Shop, Void

ERP = os.environ["SHOP_LEGACY_SOAP_URL"]
SOON = LIMIT / 4
# What is theirs: codes, names of fields, numbers of nine digits, tags.
THEIRS = re.compile(r"ERR-\d|CustRef|AltRef|\b\d{9}-?\b|[<>]|\b[A-Z]{3,20} [A-Z]{3}")


class Case(NamedTuple):
    """An order, what is special about it, and how it has to end."""

    what: str
    item: tuple[str, int]
    ends: str


CASES = [
    Case("over the credit limit", ("4", 60), "rejected"),
    Case("for more than there is", ("7", 4), "rejected"),
    Case("an ordinary one", ("42", 1), "confirmed"),
]


class Outcome(NamedTuple):
    order: str
    status: str
    reason: str


async def outcome(shop: Shop, case: Case) -> Outcome:
    """How an order ends, given some time."""
    order = await shop.place(case.item)

    async def ended() -> bool:
        return await shop.status(order) != "pending"

    await kit.eventually(ended, within=SOON)
    row = (await shop.get(f"/v1/orders/{order}", await shop.bearer())).raise_for_status().json()
    return Outcome(order[:8], row["status"], row["status_reason"] or "")


async def outcomes(shop: Shop, erp: str) -> list[Outcome]:
    """How all of them end with one ERP."""
    found = []
    for case in CASES if FAULT else CASES[-1:]:
        end = await outcome(shop, case)
        if end.status != case.ends:
            raise Broken(
                f"Order {end.order} is {case.what}, and with the {erp} ERP it is "
                f"{'still ' * (end.status == 'pending')}{end.status} instead of {case.ends}",
                f"The reason that the customer reads: {end.reason or 'none'}",
            )
        found.append(end)
    return found


async def maintenance(shop: Shop) -> None:
    """An order that comes while the ERP is in its maintenance window waits, and is registered afterwards."""
    await shop.http.post(f"{ERP}/_faults", json={"maintenance": True})
    order = await shop.place(CASES[-1].item)

    async def tried() -> bool:
        depths = json.loads((await kit.command("queues", "--json"))[1])["items"]
        waits = any(each["delayed"] for each in depths if each["queue"] == "order-processing")
        return waits or await shop.status(order) != "pending"

    async def registered() -> bool:
        return await shop.status(order) == "confirmed"

    if not await kit.eventually(tried, within=SOON):
        raise Void("the ERP was in its maintenance window, and the handler has not ended")
    await shop.http.post(f"{ERP}/_faults", json={})
    if not await kit.eventually(registered, within=SOON):
        raise Broken(
            f"The ERP was in its maintenance window, and the customer of order {order[:8]} was turned away: "
            f"the order is {await shop.status(order)}"
        )


async def check(shop: Shop) -> str:
    await shop.http.post(f"{ERP}/_faults", json={})
    # Else an order that still waits holds the goods, and the next one is rejected before the ERP checks its credit.
    if not await shop.frees(*CASES[0].item):
        raise Void(f"product {CASES[0].item[0]} is nearly sold out, so nothing can be over the credit limit first")
    old = await outcomes(shop, "old")
    try:
        if FAULT:
            await maintenance(shop)
    finally:
        await shop.http.post(f"{ERP}/_faults", json={})
    if not any(each.reason for each in old):
        raise Void("no order met a refusal, so no refusal's text could be checked")
    async with Process("order_worker").stopped(), kit.new_erp():
        new = await outcomes(shop, "new")
    for erp, ends in (("old", old), ("new", new)):
        for end in ends:
            if THEIRS.search(end.reason):
                raise Broken(
                    f"The customer of order {end.order} reads {end.reason!r}, which is what the {erp} ERP says to us"
                )
    for case, one, other in zip(CASES, old, new, strict=True):
        if one.reason != other.reason:
            raise Broken(
                f"Order {one.order} is {case.what}, and its customer reads {one.reason!r}; "
                f"with the new ERP, order {other.order} is, too, and that customer reads {other.reason!r}"
            )
    return "The same orders end in the same way with either ERP, and customers read our words."


kit.run(check)

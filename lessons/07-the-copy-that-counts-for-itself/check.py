"""A client that moves between the copies of the notifier gets everything, once, in order."""

import os

from lessons import kit
from lessons.kit import FAULT, LIMIT, Broken, Process, Shop, Void
from lessons.listener import Listener

BEFORE, MISSED = 3, (6, 3, 3, 3)
SOON = LIMIT / 3


async def place(shop: Shop, count: int = 1) -> list[str]:
    return [await shop.place(("42", 1)) for _ in range(count)]


async def arrived(client: Listener, orders: list[str], how: str) -> None:
    """It has these orders, each once, after all that it had before."""
    known = client.subjects[-1][:8] if client.seen else "none"
    lacking = await client.has(*orders, within=SOON)
    if client.resyncs:
        raise Broken(
            f"A client that had order {known} moved to another copy over {how}, and was told to begin anew, "
            "though the log has everything since"
        )
    if lacking:
        raise Broken(
            f"A client that had order {known} moved to another copy over {how}, and order {lacking[0][:8]}, "
            "placed meanwhile, never came",
            f"It lacks {len(lacking)} of {len(orders)}; the last id that it has is {client.last}",
        )


def once_in_order(client: Listener, orders: list[str], how: str) -> None:
    if twice := [order for order in orders if client.subjects.count(order) > 1]:
        raise Broken(
            f"A client moved to another copy over {how}, and order {twice[0][:8]} came "
            f"{client.subjects.count(twice[0])} times"
        )
    if client.subjects != orders:
        raise Broken(f"A client moved to another copy over {how}, and the orders did not come in their order")


async def moves(shop: Shop, copies: tuple[str, str]) -> None:
    """A client comes and goes; orders are placed while it is there, and while it is not."""
    client = Listener(shop)
    async with client.at(copies[0], within=SOON):
        orders = await place(shop)
        await arrived(client, orders, "SSE")
    # An order accepted just before the client came may be published just after: what is expected begins with its own.
    del client.seen[: client.subjects.index(orders[0])]
    for number, missed in enumerate(MISSED, start=1):
        if copies[number % 2] == copies[number % 2 - 1]:
            raise Void("the client was always at the same copy, so nothing is known of others")
        how = "WebSocket" if number in (2, 3) else "SSE"
        new = await place(shop, missed)
        orders += new
        async with client.at(copies[number % 2], websocket=how == "WebSocket", within=SOON):
            await arrived(client, new, how)
            orders += await place(shop)
            await arrived(client, orders[-1:], how)
            once_in_order(client, orders, how)
            if number == len(MISSED) - 1:  # it is at the other one
                await Process("notifier").kill()


async def never_given(shop: Shop, url: str) -> None:
    """A position that no copy has ever given out."""
    client = Listener(shop)
    client.last = "999999999"
    async with client.at(url, within=SOON):
        await kit.eventually(lambda: client.resyncs, within=SOON)
    if not client.resyncs:
        raise Broken(
            f"A client came with the id {999999999}, which was never given out, and it was not told to begin anew"
        )


async def check(shop: Shop) -> str:
    first = os.environ["SHOP_NOTIFIER_URL"]
    await place(shop, BEFORE)
    async with kit.copy_of("notifier", "SHOP_NOTIFIER_PORT", shop.http, "/readyz") as second:
        await moves(shop, (first, second if FAULT else first))
        await never_given(shop, second)
    return f"A client moved {len(MISSED)} times between copies, one of which died, and got each order once."


kit.run(check)

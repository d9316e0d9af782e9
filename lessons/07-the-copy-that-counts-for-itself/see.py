"""A client that comes back at another copy of the notifier."""

import os

from lessons import kit
from lessons.listener import Listener

ORDERS = 4


async def show(shop: kit.Shop) -> None:
    first = os.environ["SHOP_NOTIFIER_URL"]
    for _ in range(ORDERS):
        await shop.place(("42", 1))
    async with kit.copy_of("notifier", "SHOP_NOTIFIER_PORT", shop.http, "/readyz") as second:
        client, other = Listener(shop), Listener(shop)
        async with other.at(second, within=5):
            async with client.at(first, within=5):
                seen = await shop.place(("42", 1))
                await client.has(seen, within=5)
            print(
                f"A client listens at copy 1. Order {seen[:8]} comes, with the id {client.last}. The client goes away."
            )
            missed = [await shop.place(("42", 1)) for _ in range(ORDERS)]
            await other.has(seen, *missed, within=5)
        print(f"{ORDERS} orders are placed. At copy 2, the same orders have the ids:")
        for identity, _, subject in other.seen:
            print(f"  {identity:>4}  order {subject[:8]}{'  (the one that the client has)' * (subject == seen)}")
        print(f"The client comes back at copy 2, with Last-Event-ID: {client.last}")
        async with client.at(second, within=5):
            lacking = await client.has(*missed, within=4)
        told = ", and is told to load everything anew" if client.resyncs else ""
        print(f"It gets {ORDERS - len(lacking)} of {ORDERS}{told}.")


kit.see(show)

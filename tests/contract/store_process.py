"""A process of its own that places an order: `python -m tests.contract.store_process URL KEY` prints the order's id."""

from __future__ import annotations

import asyncio
import sys

from services.orders.sql_store import SqlOrderStore, outbox
from tests.contract.databases import opened, unrelayed
from tests.contract.orders import an_order, placed


async def place(url: str, key: str) -> None:
    async with opened("orders", url) as db:
        order = await placed(SqlOrderStore(db, unrelayed(outbox, db)), an_order(), key)
    sys.stdout.write(order.id + "\n")


if __name__ == "__main__":
    asyncio.run(place(*sys.argv[1:]))

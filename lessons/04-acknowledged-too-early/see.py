"""A worker that dies in the middle of an order."""

import os
from pathlib import Path

from lessons import kit

ERP = os.environ["SHOP_LEGACY_SOAP_URL"]
QUEUE = "order-processing"


async def said_of(command: str, wanted: tuple[str, ...], *, but: str = "none of it") -> None:
    """Those lines of a command that have one of the wanted words; no mail is sent in this lesson's shop."""
    lines = (await kit.command(command))[1].splitlines()
    found = [line for line in lines if any(word in line for word in wanted) and but not in line]
    print(
        f"$ shop {command}\n"
        + "\n".join(found or [f"  nothing of {wanted[0]}, but that this lesson has no mail server"])
        + "\n"
    )


async def show(shop: kit.Shop) -> None:
    await shop.http.post(f"{ERP}/_faults", json={"delay_ms": 1500})
    order = await shop.place(("42", 1))
    print(f"order {order} is placed, and the ERP takes 1.5 s for each answer")

    async def asked() -> bool:
        return (await shop.http.get(f"{ERP}/_faults")).headers["faults-met"] != "0"

    await kit.eventually(asked, within=10)
    print("the worker waits for the ERP: kill -9")
    await kit.Process("order_worker").kill()
    await shop.http.post(f"{ERP}/_faults", json={})
    print("a new worker is ready, and the ERP is fast again")

    async def ended() -> bool:
        return await shop.status(order) != "pending"

    await kit.eventually(ended, within=5)
    print(f"five seconds later at most the order is {await shop.status(order)}\n")
    await said_of("queues", (QUEUE, "queue "))
    await said_of("audit", (order,), but="mail server")
    print(f"In {Path.cwd()}, `shop trace {order}` shows where it ended")


kit.see(show)

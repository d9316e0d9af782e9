"""A worker that dies in the middle of an order."""

import os

from lessons import kit

ERP = os.environ["SHOP_LEGACY_SOAP_URL"]


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
    for words in (["queues"], ["audit"]):
        print(f"$ shop {' '.join(words)}\n{(await kit.command(*words))[1]}")
    print(f"$ shop trace {order}   shows where it ended")


kit.see(show)

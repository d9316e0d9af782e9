"""Whatever happens to a worker: a message's work is done, once, or the message is with the dead letters."""

import asyncio
import json
import os
import signal
import time

from lessons import kit
from lessons.kit import FAULT, LIMIT, Broken, Process, Shop, Void

ERP, PROVIDER = os.environ["SHOP_LEGACY_SOAP_URL"], os.environ["SHOP_PAYMENT_URL"]
QUEUE = "order-processing"
ORDERS, ROUNDS = 4, 3
# Seconds until something that was taken up again has to be through.
SOON = LIMIT / 3
# Seconds after which the queue is looked at, and how often in a row it has to be empty for a message to be lost.
GRACE_SECONDS, LOOKS = 4.0, 2
# Calls of the ERP that one attempt of a handler may make; more of them come from another attempt.
TRIES = 5


async def erp(shop: Shop, **faults: object) -> None:
    """Let the ERP misbehave; with nothing, it is well again."""
    (await shop.http.post(f"{ERP}/_faults", json=faults)).raise_for_status()


async def met(shop: Shop) -> int:
    """Calls that the ERP's fault has met."""
    return int((await shop.http.get(f"{ERP}/_faults")).headers["faults-met"])


async def payments(shop: Shop, order: str) -> int:
    answer = await shop.http.get(f"{PROVIDER}/v1/payment_intents", params={"order_id": order})
    return len(answer.raise_for_status().json()["data"])


async def pending(shop: Shop, *orders: str) -> list[str]:
    """Those that are not through, given some time; less where no queue has a message of theirs any more."""
    began, empty = time.monotonic(), 0
    left: list[str] = []

    async def decided() -> bool:
        nonlocal left, empty
        states = {order: await shop.status(order) for order in orders}
        left = [order for order, status in states.items() if status != "shipped"]
        if left and time.monotonic() - began > GRACE_SECONDS:
            lost = "pending" in states.values() and not await waiting()
            empty = empty + 1 if lost else 0
        return not left or empty >= LOOKS

    await kit.eventually(decided, within=SOON)
    return left


async def depth() -> tuple[int, int]:
    """Messages that the work queue of new orders has: ready or held by a worker, and waiting for another try."""
    depths = json.loads((await kit.command("queues", "--json"))[1])["items"]
    return next((each["ready"], each["delayed"]) for each in depths if each["queue"] == QUEUE)


async def waiting() -> int:
    return sum(await depth())


async def asking_the_erp(shop: Shop, orders: int) -> list[str]:
    """New orders, of which the worker has taken some: it waits for the ERP's answer."""
    await erp(shop, delay_ms=700)
    placed = [await shop.place(("42", 1)) for _ in range(orders)]
    if not await kit.eventually(lambda: met(shop), within=SOON):
        raise Broken(f"Order {placed[0][:8]} was placed, and its worker has not asked the ERP within {SOON:.0f} s")
    return placed


async def killed(shop: Shop) -> None:
    """A worker dies while it handles orders."""
    orders = await asking_the_erp(shop, ORDERS)
    held = [order for order in orders if await shop.status(order) == "pending"]
    if not FAULT or not held:
        raise Void("no worker was killed while it had a message that was not acknowledged")
    await Process("order_worker").kill()
    await erp(shop)
    if lost := await pending(shop, *orders):
        left = await waiting()
        where = f"queue {QUEUE} has {left} messages" if left else "no queue has its message any more"
        raise Broken(
            f"A worker was killed while it handled order {lost[0][:8]}, and the order is still "
            f"{await shop.status(lost[0])}: {where}",
            f"So are {len(lost)} of {len(orders)} orders. What the audit says: shop audit",
        )

    if twice := [order for order in orders if await payments(shop, order) != 1]:
        raise Broken(
            f"A worker was killed while it handled order {twice[0][:8]}, which was charged "
            f"{await payments(shop, twice[0])} times"
        )

    async def settled() -> bool:
        return not await waiting()

    if not await kit.eventually(settled, within=SOON / 2):
        raise Broken(
            f"Order {orders[0][:8]} is shipped, and queue {QUEUE} still holds {await waiting()} messages: "
            "what is done was never acknowledged, and comes again at each restart"
        )


async def killed_while_paying(shop: Shop) -> None:
    """A worker dies when it has requested the payment, and before that is written down."""
    for _ in range(ROUNDS):
        [order] = await asking_the_erp(shop, 1)
        async with Process("inventory").stopped():  # so that the step after the payment does not end

            async def asked(order: str = order) -> int:
                return await payments(shop, order)

            bitten = await kit.eventually(asked, within=SOON / 2) and Process("order_worker").signal(signal.SIGKILL)
        await erp(shop)
        lost = await pending(shop, order)
        if (count := await payments(shop, order)) > 1:
            raise Broken(f"A worker was killed after it had asked for the payment, and order {order[:8]} was charged "
                         f"{'twice' if count == 2 else f'{count} times'}")  # fmt: skip
        if lost:
            raise Broken(f"A worker was killed after it had asked for the payment, and order {order[:8]} was forgotten")
        if bitten:
            return
    raise Void("no worker was killed between the payment and the end of its step")


async def maintenance(shop: Shop) -> None:
    """The handler fails for a while, and does not die."""
    await erp(shop, maintenance=True)
    order = await shop.place(("42", 1))
    if not await kit.eventually(lambda: met(shop), within=SOON):
        raise Void("the ERP was in its maintenance window, and no worker has called it")

    async def decided() -> bool:
        """It was tried again, or it will not be: the queue has it no more."""
        return await met(shop) > TRIES or not await waiting()

    await kit.eventually(decided, within=SOON)
    await erp(shop)
    if await pending(shop, order):
        aside = order in (await kit.command("dead-letters", "list", "--queue", QUEUE, "--json"))[1]
        raise Broken(
            f"The ERP was in its maintenance window when order {order[:8]} came, the handler failed, and the message "
            f"{'became a dead letter at once' if aside else 'was acknowledged'}: the order is still pending"
        )


async def poison(shop: Shop, seen: asyncio.Task[tuple[int, str]]) -> None:
    """Messages that no consumer can read are put aside, and no order waits for them. `seen` ends when they are."""
    order = await shop.place(("42", 1))
    late = await pending(shop, order)
    done, _ = await asyncio.wait([seen], timeout=SOON)
    if late:
        raise Broken(f"Order {order[:8]} waits behind messages that no consumer can read")
    if not done or "3 of 3 became dead letters" not in seen.result()[1]:
        raise Broken("A message that no consumer can read is not with the dead letters: it is tried for ever, or lost")


async def check(shop: Shop) -> str:
    poisoning = None
    try:
        await killed(shop)
        # The command ends when it has seen its messages among the dead letters; it takes them away.
        poisoning = asyncio.create_task(kit.command("fault", "poison", QUEUE))
        await maintenance(shop)
        await killed_while_paying(shop)
        await poison(shop, poisoning)
    finally:
        if poisoning:
            poisoning.cancel()
            await asyncio.wait([poisoning])
        await erp(shop)
    return (
        "Workers were killed in the middle of orders: each was finished, and charged once; what is unreadable is aside."
    )


kit.run(check)

"""Orders a second through one, two and three copies of a worker, and what an order takes of each process's time.

The work is there before a worker begins: its copies are paused (`docker pause`), orders are placed and go as far as
they can without it, and the clock runs from the moment at which the copies go on. So it is the copies' rate, and not
that of placing orders. The part of their share of a core that the copies used says whether they were the limit.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from bench.composed import UNHELD, WITHIN, Copy, copies, docker, run_only
from bench.orders.load import PRODUCTS
from bench.stock import count_in, token_of
from shop import sign_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ORDERS = 60
PLACING = 10
COPIES = (3, 2, 1)
LOOK = 0.1
AT_REST = 15.0
# Of an order that is shipped.
MAILS = {"confirmed", "shipped"}
PLACED = {"pending", "confirmed", "paid", "shipped"}
CONFIRMED = {"confirmed", "paid", "shipped"}
PAID = {"paid", "shipped"}
SHIPPED = {"shipped"}

Done = Callable[[httpx.AsyncClient, set[str]], Awaitable[bool]]


def _have(statuses: set[str]) -> Done:
    async def done(http: httpx.AsyncClient, ids: set[str]) -> bool:
        found = (await http.get("/v1/orders", params={"limit": 100})).raise_for_status().json()["items"]
        ours = {order["id"]: order["status"] for order in found if order["id"] in ids}
        if lost := {each for each in ours.values() if each not in PLACED}:
            raise RuntimeError(f"orders that go no further: {lost}")
        return sum(each in statuses for each in ours.values()) == len(ids)

    return done


async def _stored(http: httpx.AsyncClient, ids: set[str]) -> bool:
    """Confirmed, and the provider's webhooks are stored, and none of them is published."""
    (postgres,) = copies("postgres")
    count = "SELECT count(*) FROM webhooks WHERE published_at IS NULL"
    waiting = int(docker("exec", postgres.id, "psql", "-U", "postgres", "-d", "webhooks", "-qtAc", count))
    return waiting >= len(ids) and await _have(CONFIRMED)(http, ids)


async def _mailed(_: httpx.AsyncClient, ids: set[str]) -> bool:
    (sink,) = copies("smtp_sink")
    async with httpx.AsyncClient(base_url=f"http://{sink.address}:8026", timeout=30) as http:
        found = (await http.get("/mails", headers={"Accept": "application/json"})).raise_for_status().json()
    kinds: dict[str, set[str]] = {}
    for mail in found:
        kinds.setdefault(mail["order_id"], set()).add(mail["kind"])
    return all(kinds.get(each, set()) >= MAILS for each in ids)


@dataclass(frozen=True)
class Worker:
    """A worker, the cores of each copy, the order's progress without it, and when it has done its part."""

    service: str
    share: str
    before: Done
    after: Done


WORKERS = (
    Worker("order_worker", "0.1", _have(PLACED), _have(CONFIRMED)),
    Worker("webhook_worker", "0.05", _stored, _have(PAID)),
    Worker("mailer", "0.05", _have(SHIPPED), _mailed),
)


async def measured(worker: Worker) -> None:
    """Print the rates of three, two and one copies, in the order in which copies need not be started again."""
    all_copies = run_only(worker.service, max(COPIES))
    async with customer() as http:
        await _one(http, worker, all_copies)  # connections and caches are there from then on
        for count in COPIES:
            running = run_only(worker.service, count)
            rate, used, busy = await _one(http, worker, running)
            sys.stdout.write(
                f"| {worker.service} | {worker.share} | {count} | {rate:.1f} orders/s | {used:.1f} | {busy:.0%} |\n"
            )
            sys.stdout.flush()
    run_only(worker.service, max(COPIES))


async def _one(http: httpx.AsyncClient, worker: Worker, running: Sequence[Copy]) -> tuple[float, float, float]:
    """Orders a second; of these copies ms of processor time an order, and the part of their share that they used."""
    paused = [each.id for each in running]
    docker("pause", *paused)
    try:
        ids = await placed(http)
        await _until(worker.before, http, ids)
        docker("update", "--cpus", worker.share, *paused)
        before = sum(each.processor() for each in running)
    finally:
        docker("unpause", *paused)
    began = time.perf_counter()
    try:
        await _until(worker.after, http, ids)
        seconds = time.perf_counter() - began
        used = sum(each.processor() for each in running) - before
    finally:
        docker("update", "--cpus", UNHELD, *paused)
    await _until(_mailed, http, ids)  # what is left of them must not be counted with the next
    return len(ids) / seconds, used * 1000 / len(ids), used / seconds / float(worker.share) / len(running)


async def costs(times: int) -> None:
    """Print each process's processor time for an order, with one copy of each worker and nothing held."""
    for worker in WORKERS:
        run_only(worker.service, 1)
    async with customer() as http:
        await _until(_mailed, http, await placed(http))
        everything = copies()
        at_rest = {each: each.processor() for each in everything}
        await asyncio.sleep(AT_REST)
        before = {each: each.processor() for each in everything}
        ids: set[str] = set()
        began = time.perf_counter()
        for _ in range(times):
            some = await placed(http)
            await _until(_mailed, http, some)
            ids |= some
        seconds = time.perf_counter() - began
        idle = {each: (before[each] - at_rest[each]) / AT_REST for each in everything}
        used = {each: each.processor() - before[each] - idle[each] * seconds for each in everything}
        print_costs(_by_service(used), _by_service(idle), len(ids), seconds)


def _by_service(figures: Mapping[Copy, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for copy, figure in figures.items():
        found[copy.service] = found.get(copy.service, 0.0) + figure
    return found


def print_costs(used: Mapping[str, float], idle: Mapping[str, float], orders: int, seconds: float) -> None:
    """Print by service: `used` are seconds for these orders, without `idle`, the share of a core that it always takes.

    By the machine's noise, or as its container was started again, a service may have used less than nothing: that is
    shown, and it has no rate.
    """
    sys.stdout.write(f"\n{orders} orders at {orders / seconds:.1f} a second, one copy of each worker, nothing held")
    sys.stdout.write("; without what they take when nothing is ordered\n\n")
    sys.stdout.write("| process | ms of an order | a core is full at |\n|---|---|---|\n")
    for service, spent in sorted(used.items(), key=lambda each: -each[1]):
        full = f"{(1 - idle[service]) * orders / spent:,.0f} orders/s" if spent > 0 else "not measured"
        sys.stdout.write(f"| {service} | {spent * 1000 / orders:.1f} | {full} |\n")
    sys.stdout.write(f"| all | {sum(used.values()) * 1000 / orders:.1f} | |\n")
    sys.stdout.flush()


async def stocked() -> None:
    """Count in plenty of what is ordered: an order that is rejected takes less work."""
    (gateway,), (inventory,) = copies("gateway"), copies("inventory")
    await count_in(f"{inventory.address}:50054", f"http://{gateway.address}:8000", PRODUCTS)


@asynccontextmanager
async def customer() -> AsyncIterator[httpx.AsyncClient]:
    """The demo customer at the gateway."""
    (gateway,) = copies("gateway")
    url = f"http://{gateway.address}:8000"
    headers = {"Authorization": f"Bearer {await token_of(url, sign_in.CUSTOMER)}"}
    async with httpx.AsyncClient(base_url=url, timeout=30, headers=headers) as http:
        yield http


async def placed(http: httpx.AsyncClient) -> set[str]:
    """Place the orders of one measurement; their ids."""
    share = [PRODUCTS[number % len(PRODUCTS)] for number in range(ORDERS)]
    some = await asyncio.gather(*(_place(http, share[first::PLACING]) for first in range(PLACING)))
    return {order_id for ids in some for order_id in ids}


async def _place(http: httpx.AsyncClient, products: Sequence[str]) -> list[str]:
    ids = []
    for product_id in products:
        body: dict[str, Any] = {"items": [{"product_id": product_id, "quantity": 1}]}
        answer = await http.post("/v1/orders", json=body, headers={"Idempotency-Key": uuid.uuid4().hex})
        ids.append(str(answer.raise_for_status().json()["id"]))
    return ids


async def _until(done: Done, http: httpx.AsyncClient, ids: set[str]) -> None:
    async with asyncio.timeout(WITHIN):
        while not await done(http, ids):  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(LOOK)

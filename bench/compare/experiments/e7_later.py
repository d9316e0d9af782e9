"""E7: work that can wait. Time to the answer, time to the effect, and what is left of it when the worker dies."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from bench.compare.bench import Bench
from bench.compare.experiments.shop.reads import sign_in
from bench.compare.measure.workers import WorkerFailed, worker
from partners.payment_provider.bootstrap import Settings as PaymentSettings

NAME = "E7"
_SERVER, _CUSTOMER = "bench.compare.work.sessions:WorkServer", "bench.compare.work.sessions:Customer"
# What is true when the answer arrives.
WAYS = {
    "sync": ("bench: done in the request", "done"),
    "queue": ("bench: 202, queue in memory", "received, nothing stored"),
    "webhook": ("bench: 202, queue in memory, webhook when done", "received, nothing stored"),
    "shop": ("shop: 202, outbox and durable queue", "stored"),
}
# Of the shop's time to the effect: how long the payment provider's stand-in waits before it collects the money.
PAYMENT_DELAY_MS = 1e3 * float(PaymentSettings.model_fields["payment_delay"].default)
_ORDER = {"items": [{"product_id": "42", "quantity": 1}]}
_EFFECT = 120.0
# Longer than it takes to kill the process that does it.
_LONG_WORK, _POLL = 60.0, 0.01


async def run(bench: Bench) -> None:
    """Interleaved rounds of each way, then each way's worker is killed between its answer and its effect."""
    ways = [name for name in WAYS if name != "shop" or not bench.bare]
    server, customer = await bench.worker(_SERVER), await bench.worker(_CUSTOMER)
    url = f"http://127.0.0.1:{await server.call('serve')}"
    shop, headers = "", {}
    if not bench.bare:
        running = await bench.shop()
        shop = running.url("gateway")
        headers = {"Authorization": f"Bearer {await asyncio.to_thread(sign_in, running)}"}
    bench.say(f"{NAME}: {bench.rounds} rounds of {', '.join(ways)}")
    for number, name in bench.interleaved(ways):
        for _ in range(bench.either(1, 2)):
            if name == "shop":
                took = await customer.call(
                    "shop", url=shop, headers=headers, body=_ORDER, status="shipped", within=_EFFECT
                )
                facts = {"payment_delay_ms": PAYMENT_DELAY_MS}
            else:
                took, facts = await customer.call("bench", url=url, how=name), {}
            bench.folder.add(
                _row(name, "time", round=number, **{f"{key}_ms": value * 1e3 for key, value in took.items()}, **facts)
            )
    for name in ways:
        bench.say(f"{NAME}: the worker of {name} dies")
        kept = await (_shop_kept(bench, customer, shop, headers) if name == "shop" else _bench_kept(name))
        bench.folder.add(_row(name, "death", kept=kept))


def _row(name: str, kind: str, **facts: Any) -> dict[str, Any]:
    level = "shop" if name == "shop" else "bare"
    return {"experiment": NAME, "level": level, "variant": name, "kind": kind, "true_at_answer": WAYS[name][1], **facts}


async def _bench_kept(name: str) -> str:
    """Kill the process while it works, before or after its answer; return whether a new one has the order done."""
    async with worker(_SERVER, _LONG_WORK) as server, worker(_CUSTOMER) as customer, worker(_SERVER) as after:
        url = f"http://127.0.0.1:{await server.call('serve')}"
        if name == "sync":
            answer = asyncio.create_task(customer.call("bench", url=url, how="sync"))
            while not (received := await server.call("received")):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(_POLL)
            order = received[0]
        else:
            path = "/orders?how=queue"
            order = (await customer.call("accepted", url=url, headers={}, body={}, path=path))["id"]
        server.kill()
        answered = "the answer had said that it was accepted"
        if name == "sync":
            answered = await _outcome_of(answer)
        url = f"http://127.0.0.1:{await after.call('serve')}"
        return f"{'yes' if await customer.call('done', url=url, order=order) else 'no'}; {answered}"


async def _outcome_of(answer: asyncio.Task[Any]) -> str:
    try:
        await answer
    except WorkerFailed:
        return "the caller sees an error and does not know"
    return "the answer had said that it was done"


async def _shop_kept(bench: Bench, customer: Any, url: str, headers: dict[str, str]) -> str:
    """The saga's worker is killed right after an order was accepted."""
    running = await bench.shop()
    placed = await customer.call("accepted", url=url, headers=headers, body=_ORDER, path="/v1/orders")
    os.kill(running.pids()["order_worker"], signal.SIGKILL)
    expected = {"url": url, "headers": headers, "order": placed["id"], "status": "shipped", "within": _EFFECT}
    later = await customer.call("reached", **expected)
    return "NO" if later is None else f"yes; shipped {later:.1f} s after the kill"

"""A thousand orders that wait: whether the next ones are accepted in time, and reads answered as at rest.

`order_worker` is stopped (SIGSTOP) while they are placed, so that nothing works them off and the number of those that
wait is all that differs from a shop at rest: this is what the bars are for. A last look is while they are worked off.
The cores are full then, and how long a read waits for one says nothing about the number of orders. On RabbitMQ it
begins with reconnecting and repeats: a worker that has sent no heartbeat for 20 s loses its connections, and the server
delivers again what it had.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.orders import load

# Of the newest orders and of reads, a second; and the reads for each of the newest orders.
ORDERS_RATE = 10.0
READS_RATE = 40.0
READS = 4


@dataclass
class Stage:
    """The newest orders, then reads: latencies in milliseconds from the intended start, and the orders left waiting.

    Reads are of a product ("product") and of an order that has been shipped ("order"). `refused` counts all orders that
    were placed for this stage and not accepted.
    """

    figures: dict[str, float]
    left: int
    refused: int


@dataclass
class Waiting:
    """The same at rest, with so many orders waiting, and while these are worked off."""

    newest: int
    at_rest: Stage
    stopped: Stage
    worked_off: Stage

    @property
    def refused(self) -> int:
        """The refusals that the bars are judged by: what is worked off with full cores has no bar."""
        return self.at_rest.refused + self.stopped.refused

    @property
    def reads_of_rest(self) -> float:
        """The p99 of the read that has grown most, of its p99 at rest."""
        names = ("product_p99_ms", "order_p99_ms")
        return max(self.stopped.figures[name] / self.at_rest.figures[name] for name in names)


async def measured(customer: load.Customer, worker: int, orders: int) -> Waiting:
    """Place so many orders while the process `worker` is stopped, and look at the next tenth of them and at reads."""
    newest = max(2, orders // 10)
    first = await _newest(customer, newest)
    await customer.wait_until_shipped(first.orders)
    known = first.orders[0].id
    at_rest = Stage(_accepted(first) | await _reads(customer, known, newest), 0, first.refused.total())
    waiting = load.Run(0.0)
    with _stopped(worker):
        await load.placed(customer, waiting, orders, load.CONNECTIONS)
        second = await _newest(customer, newest)
        figures = _accepted(second) | await _reads(customer, known, newest)
    refused = waiting.refused.total() + second.refused.total()
    stopped = Stage(figures, len(waiting.orders) + len(second.orders), refused)
    third = await _newest(customer, newest)
    figures = _accepted(third) | await _reads(customer, known, newest)
    ended = time.time()
    everything = [*waiting.orders, *second.orders, *third.orders]
    await customer.wait_until_shipped(load.last_of(everything))
    await customer.read_all(everything)
    left = sum(order.shipped > ended for order in everything)
    return Waiting(newest, at_rest, stopped, Stage(figures, left, third.refused.total()))


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _newest(customer: load.Customer, orders: int) -> load.Run:
    run = load.Run(orders / ORDERS_RATE, began=time.time())
    await load.opened(customer, run, ORDERS_RATE)
    if not run.orders:
        raise RuntimeError(f"no order was accepted: {dict(run.refused)}")
    return run


def _accepted(run: load.Run) -> dict[str, float]:
    return load.percentiles("accepted", [1000 * (each.accepted - each.intended) for each in run.orders])


async def _reads(customer: load.Customer, order_id: str, newest: int) -> dict[str, float]:
    """A product and an order in turns."""
    paths = ("/v1/products/42", f"/v1/orders/{order_id}")
    began = time.time()
    reads = []
    async with asyncio.TaskGroup() as group:
        for number in range(READS * newest):
            intended = began + number / READS_RATE
            await asyncio.sleep(max(0.0, intended - time.time()))
            reads.append(group.create_task(customer.read(paths[number % 2], intended)))
    product, order = ([1000 * read.result() for read in reads[first::2]] for first in (0, 1))
    return load.percentiles("product", product) | load.percentiles("order", order)

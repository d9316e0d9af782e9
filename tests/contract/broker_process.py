"""A process of its own that uses a broker: `python -m tests.contract.broker_process URL ROLE`.

`hold QUEUE COUNT` takes deliveries and never settles them, `publish TYPE COUNT` publishes and ends. Each line that it
prints is the id of an event held or published.
"""

from __future__ import annotations

import asyncio
import sys

from chassis.broker import connect
from tests.contract.events import TOPOLOGY, an_event


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def hold(url: str, queue: str, count: int) -> None:
    broker = await connect(url, TOPOLOGY)
    async with broker.deliveries(queue, prefetch=count) as deliveries:
        async for delivery in deliveries:
            say(delivery.event.id)


async def publish(url: str, type_: str, count: int) -> None:
    broker = await connect(url, TOPOLOGY)
    for _ in range(count):
        event = an_event(type_)
        await broker.publish([event])
        say(event.id)
    await broker.close()


if __name__ == "__main__":
    _, address, role, name, number = sys.argv
    asyncio.run({"hold": hold, "publish": publish}[role](address, name, int(number)))

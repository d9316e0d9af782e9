"""A process of its own that relays an outbox: `python -m tests.contract.relay_process DATABASE_URL BROKER_URL ROLE`.

As `relay` it publishes; as `hang` it stops in the middle of its first publishing. Either says "relaying" first.
A fourth argument is the URL of an event log that is not the broker's own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import cast

from chassis.broker import connect
from chassis.broker.outbox import Outbox
from chassis.broker.port import Broker, Event
from chassis.observability.tracing import Telemetry
from services.catalog.sql_store import outbox
from tests.contract.databases import opened
from tests.contract.events import TOPOLOGY


class HangingBroker:
    """Fake: takes an event and never confirms it."""

    system = "embedded"

    async def publish(self, events: Sequence[Event]) -> None:
        sys.stdout.write("hanging\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def relay(database_url: str, broker_url: str, role: str, log_url: str = "") -> None:
    hangs = role == "hang"
    broker = cast("Broker", HangingBroker()) if hangs else await connect(broker_url, TOPOLOGY, log_url=log_url)
    async with opened("catalog", database_url) as db:
        sys.stdout.write("relaying\n")
        sys.stdout.flush()
        await Outbox(outbox, db, broker, Telemetry("test")).relay()


if __name__ == "__main__":
    asyncio.run(relay(*sys.argv[1:]))

"""What is kept together belongs to as many traces as it has webhooks."""

from __future__ import annotations

import asyncio

from chassis.broker import connect
from chassis.broker.event_log import START
from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from partners import senders
from tests.webhooks.conftest import SECRETS, Receiver, Start

MANY = 40


def trace_of(number: int) -> str:
    return f"{number + 1:032x}"


async def test_each_announcement_belongs_to_its_request(start: Start) -> None:
    """Of many webhooks that come at once, each one's row and event belong to the trace of its own request."""
    async with start() as receiver:
        await asyncio.gather(*(_send(receiver, number) for number in range(MANY)))
        stored = {row["provider_event_id"]: row["traceparent"].split("-")[1] for row in await receiver.rows()}
        assert stored == {f"evt_{number}": trace_of(number) for number in range(MANY)}

        subjects = {row["id"]: row["provider_event_id"] for row in await receiver.rows()}
        announced: dict[str, str] = {}
        broker = await connect(receiver.settings.broker(), Topology.load(TOPOLOGY))
        async with asyncio.timeout(10), broker.log.tail(START) as entries:
            async for entry in entries:
                traceparent = entry.event.extensions["traceparent"]
                announced[subjects[entry.event.subject]] = traceparent.split("-")[1]
                if len(announced) == MANY:
                    break
        await broker.close()
        assert announced == stored


async def _send(receiver: Receiver, number: int) -> None:
    event = senders.stripe("customer.created", {"id": "cus_1"}, secret=SECRETS["stripe"], event_id=f"evt_{number}")
    answer = await receiver.send(event, traceparent=f"00-{trace_of(number)}-{1:016x}-01")
    assert answer.status_code == 200

"""The event logs that the contract suite is run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from chassis.broker import connect
from chassis.broker.event_log import EventLog
from chassis.broker.kafka.adapter import KafkaLog
from chassis.broker.retention import Retention
from tests import kafka
from tests.contract.events import TOPOLOGY
from tests.rabbitmq import lose, own_rabbitmq

RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)
KAFKAS = [pytest.param(kind, marks=pytest.mark.kafka) for kind in kafka.KINDS]
LOGS = ["embedded", RABBITMQ, *KAFKAS]
# Those whose entries can be made to expire, and those that can be lost, in a test.
FORGETTING = ["embedded", RABBITMQ, pytest.param("mock", marks=pytest.mark.kafka)]
LOSABLE = ["embedded", RABBITMQ, *(each for each in KAFKAS if each.values != ("mock",))]


@dataclass
class LogUnderTest:
    """One log that holds nothing yet; `open` connects to it, as often as it likes.

    `passed_by`: the bytes of an event's data, and the number of such events, by which the shortest retention passes.
    """

    connect: Callable[[Retention | None], Awaitable[EventLog]]
    lose: Callable[[], Awaitable[None]]
    passed_by: tuple[int, int] = (500, 1_200)
    opened: list[EventLog] = field(default_factory=list)

    async def open(self, retention: Retention | None = None) -> EventLog:
        self.opened.append(await self.connect(retention))
        return self.opened[-1]


@asynccontextmanager
async def log_under_test(kind: str, folder: Path) -> AsyncIterator[LogUnderTest]:
    """A log of one of `LOGS`."""
    async with AsyncExitStack() as stack:
        if kind in kafka.KINDS:
            topic = await stack.enter_async_context(kafka.own_topic(kind))

            async def opened(retention: Retention | None) -> EventLog:
                log = KafkaLog(topic.url, retention or Retention())
                stack.push_async_callback(log.close)
                return log

            # The mock cluster keeps 5 MiB of each partition, whatever the setting.
            yield LogUnderTest(opened, topic.lose, passed_by=(200_000, 40))
            return
        if kind == "embedded":
            url = f"embedded:{folder / 'broker.sqlite'}"
        else:
            url = await stack.enter_async_context(own_rabbitmq(TOPOLOGY))

        async def connected(retention: Retention | None) -> EventLog:
            broker = await connect(url, TOPOLOGY, retention=retention)
            stack.push_async_callback(broker.close)
            return broker.log

        yield LogUnderTest(connected, lambda: lose(url, TOPOLOGY))

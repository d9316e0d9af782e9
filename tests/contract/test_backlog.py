"""What waits in the work queues is shown: as metrics on either broker, and by `shop status`."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chassis.broker import connect
from chassis.broker.consumer import consuming
from chassis.broker.port import Broker, Event, Topology
from chassis.broker.queue_gauges import QueueGauges
from chassis.observability.metrics import Metrics
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from shop.commands.processes.status import status
from tests.contract.events import an_event
from tests.waiting import eventually

LONG_AGO = timedelta(seconds=300)


def _files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def old_event() -> Event:
    return replace(an_event(), time=datetime.now(UTC) - LONG_AGO)


async def test_metrics_of_a_queue_that_is_not_consumed(broker: Broker) -> None:
    """While a consumer holds an event, its age is shown on either broker, and gone once it is handled."""
    metrics, go_on = Metrics(), asyncio.Event()
    gauges = QueueGauges(metrics, broker)

    async def handle(_: Event) -> None:
        await go_on.wait()

    async def shown(name: str) -> float:
        await gauges._look()
        (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", metrics.exposition()[1].decode(), re.MULTILINE)
        return float(value)

    age = 'queue_oldest_seconds{queue="processing"}'
    dead = 'queue_messages{queue="processing",state="dead"}'
    async with consuming(broker, "processing", handle, telemetry=Telemetry("test"), concurrency=1) as held:
        gauges.consumes("processing", held)
        assert await shown(age) == 0
        await broker.publish([old_event()])

        async def old() -> bool:
            return await shown(age) >= LONG_AGO.total_seconds()

        await eventually(old)
        go_on.set()

        async def gone() -> bool:
            return await shown(age) == 0 == await shown(dead)

        await eventually(gone)


async def test_metrics_of_an_event_that_waits_for_a_retry(broker: Broker) -> None:
    """An event that a consumer keeps for its next attempt is counted once, and its age is shown."""
    metrics = Metrics()
    gauges = QueueGauges(metrics, broker)

    async def fail(_: Event) -> None:
        raise ConnectionError("away")

    async with consuming(
        broker, "processing", fail, telemetry=Telemetry("test"), retry_delays=[3600], concurrency=1
    ) as held:
        gauges.consumes("processing", held)
        await broker.publish([old_event()])

        async def shown() -> bool:
            await gauges._look()
            page = metrics.exposition()[1].decode()
            waiting = re.findall(
                r'^queue_messages{queue="processing",state="(?:delayed|held)"} (\S+)$', page, re.MULTILINE
            )
            assert sum(map(float, waiting)) == 1
            (age,) = re.findall(r'^queue_oldest_seconds{queue="processing"} (\S+)$', page, re.MULTILINE)
            return float(age) >= LONG_AGO.total_seconds()

        await eventually(shown)


@pytest.fixture
async def waiting(tmp_path: Path) -> Path:
    """A shop's folder whose embedded broker holds an old event that is not consumed."""
    broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", Topology.load(TOPOLOGY))
    await broker.publish([old_event()])
    await broker.close()
    return tmp_path


async def test_shop_status(waiting: Path) -> None:
    """`shop status` shows of each queue how much waits and for how long the oldest has."""
    env = {"SHOP_DATA_DIR": str(waiting)}
    queues = json.loads((await asyncio.to_thread(status, env, as_json=True))[0])["queues"]
    (found,) = [queue for queue in queues if queue["queue"] == "order-processing"]
    assert (found["ready"], found["delayed"], found["dead"]) == (1, 0, 0)
    assert found["oldest_seconds"] >= LONG_AGO.total_seconds()


async def test_shop_status_makes_no_broker(tmp_path: Path) -> None:
    """Where there is no broker, none is made, and no queue is shown."""
    report, _ = await asyncio.to_thread(status, {"SHOP_DATA_DIR": str(tmp_path)}, as_json=True)
    assert json.loads(report)["queues"] is None
    assert _files(tmp_path) == []

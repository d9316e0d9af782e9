"""`shop queues` and `shop dead-letters` on RabbitMQ: the same commands as on the embedded broker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from aiohttp import web

from chassis.broker import connect
from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from tests.contract.events import an_event
from tests.rabbitmq import own_rabbitmq
from tests.shop import free_ports
from tests.waiting import eventually

QUEUE = "order-mail"
# RabbitMQ's Prometheus endpoint, where a test has one.
METRICS = ""


async def shop(data_dir: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    """Run `shop …` on a broker: exit code, what it printed, and what it said of errors."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shop", *arguments),
        env={
            **own,
            "SHOP_DATA_DIR": str(data_dir),
            "SHOP_BROKER_URL": url,
            "SHOP_BROKER_METRICS_URL": METRICS,
            "COLUMNS": "80",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.rabbitmq
async def test_queues_of_rabbitmq_are_counted(tmp_path: Path) -> None:
    """Ready, delayed, dead and consumers of each queue; a dead letter is listed, put back and counted again."""
    topology = Topology.load(TOPOLOGY)
    async with own_rabbitmq(topology) as url:
        broker = await connect(url, topology)

        async def row(**expected: int | None) -> None:
            async def seen() -> bool:
                code, out, err = await shop(tmp_path, url, "queues", "--json")
                assert code == 0, err
                items = {each["queue"]: each for each in json.loads(out)["items"]}
                assert items.keys() == topology.queues.keys()
                assert {name: items[QUEUE][name] for name in expected} == expected
                return True

            # RabbitMQ counts a moment later.
            await eventually(seen, within=60)

        try:
            await row(ready=0, delayed=0, dead=0, consumers=0)
            events = [an_event("order.confirmed", subject=f"o-{number}") for number in range(3)]
            await broker.publish(events)
            await row(ready=3, consumers=0)
            async with broker.deliveries(QUEUE, prefetch=3) as deliveries:
                first, second, third = [await asyncio.wait_for(anext(deliveries), 30) for _ in range(3)]
                await first.ack()
                await second.retry(600, "later")
                await third.dead_letter("no mail server")
                # The consumer holds what is delayed, which AMQP counts nowhere.
                await row(ready=0, dead=1, consumers=1, oldest=None, held=None)
            await row(delayed=1, consumers=0)
            code, out, err = await shop(tmp_path, url, "queues")
            assert code == 0, err
            line = next(each for each in out.splitlines() if each.startswith(QUEUE))
            assert line.split() == [QUEUE, "0", "1", "-", "1", "0", "-"]
            assert all(len(each) <= 80 for each in out.splitlines()), out
            code, out, _ = await shop(tmp_path, url, "dead-letters", "list", "--queue", QUEUE)
            assert (code, third.event.id in out, "no mail server" in out) == (0, True, True)
            code, out, _ = await shop(tmp_path, url, "dead-letters", "replay", third.event.id, "--queue", QUEUE)
            assert (code, f"is back in {QUEUE}" in out) == (0, True)
            await row(ready=1, delayed=1, dead=0)
        finally:
            await broker.close()


@pytest.mark.rabbitmq
async def test_what_consumers_hold_is_told_by_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where RabbitMQ's metrics are configured, what its consumers hold is counted; metrics that are away are named."""
    topology = Topology.load(TOPOLOGY)
    async with own_rabbitmq(topology) as url:
        broker = await connect(url, topology)
        prefix = url.partition("?prefix=")[2]

        async def metrics(_request: web.Request) -> web.Response:
            counts = {f"{prefix}{queue}{end}": 0 for queue in topology.queues for end in ("", ".retry")}
            counts[f"{prefix}{QUEUE}"], counts[f"{prefix}{QUEUE}.retry"] = 3, 2
            lines = [
                f'rabbitmq_detailed_queue_messages{{vhost="/",queue="{name}"}} {count}'
                for name, count in counts.items()
            ]
            return web.Response(text="\n".join(["# TYPE rabbitmq_detailed_queue_messages gauge", *lines, ""]))

        app = web.Application()
        app.router.add_get("/metrics/detailed", metrics)
        runner = web.AppRunner(app)
        await runner.setup()
        (port,) = free_ports(1)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            monkeypatch.setattr("tests.system.test_queues.METRICS", f"http://127.0.0.1:{port}")
            code, out, err = await shop(tmp_path, url, "queues", "--json")
            assert code == 0, err
            assert {each["queue"]: each["held"] for each in json.loads(out)["items"]}[QUEUE] == 5
        finally:
            await runner.cleanup()
            await broker.close()
        code, _, err = await shop(tmp_path, url, "queues")
        assert (code, "metrics at http://127.0.0.1" in err, len(err.splitlines())) == (2, True, 1)


async def test_broker_that_is_away_is_said_in_one_line(tmp_path: Path) -> None:
    """Where nothing listens, the command says what it could not reach, without a traceback."""
    code, out, err = await shop(tmp_path, "amqp://127.0.0.1:1/", "queues")
    assert (code, out) == (2, "")
    assert err.startswith("shop: the broker cannot be reached")
    assert len(err.splitlines()) == 1

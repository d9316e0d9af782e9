"""Each deployed alert fires when its fault is there: a real Prometheus, real shops, and the minutes that it takes."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path

import httpx
import pytest
import websockets

from chassis.broker import connect
from chassis.broker.event_log import EventLog
from chassis.broker.port import Topology
from chassis.settings import TOPOLOGY
from partners import senders
from shop.fault.links.proxy import LinkSpec, proxying
from shop.fault.links.toxics import parse
from shop.process_table import TABLE
from tests.metrics.scraping import answer, prometheus, rules
from tests.metrics.test_queries import shop_with_metrics
from tests.notifier.conftest import an_event
from tests.shop import Shop, free_ports
from tests.waiting import eventually

pytestmark = [
    pytest.mark.prometheus,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.environ.get("TEST_NIGHTLY"), reason="not run: alerts wait for minutes, make alerts"),
]
FREELY = {"SHOP_CLIENT_RATE_LIMIT": "100000/minute", "SHOP_USER_RATE_LIMIT": "100000/minute"}
# How often what has to go on for an alert's whole `for` is done.
_PAUSE = 0.2
# Clients that stop reading at once, and how often: more than 300 in five minutes.
_CROWD, _CROWDS = 35, 10


async def fires(http: httpx.AsyncClient, names: set[str], within: float = 400) -> None:
    """Wait until all of these alerts fire, whatever else does."""

    async def firing() -> bool:
        alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
        assert {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"} >= names
        return True

    await eventually(firing, within=within)


@asynccontextmanager
async def meanwhile(shop: Shop, *paths: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[None]:
    """Read these pages again and again, whatever comes of it."""

    async def reading() -> None:
        async with httpx.AsyncClient(base_url=shop.http.base_url, timeout=60, headers=headers) as http:
            while True:
                await asyncio.gather(*(http.get(path) for path in paths))
                await asyncio.sleep(_PAUSE)

    task = asyncio.create_task(reading())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_without_the_erp(tmp_path: Path) -> None:
    """Orders wait, ever longer; its breaker opens, its hops fail; and an event without an order is a dead letter."""
    async with (
        shop_with_metrics(tmp_path, FREELY, without=("legacy_soap", "mailer")) as shop,
        prometheus(shop, tmp_path) as http,
        meanwhile(shop, *(f"/v1/products/{number}/availability" for number in (1, 2, 3))),
    ):
        for _ in range(70):  # of each, less than there are
            assert (await shop.place(("42", 1))).status_code == 202
            assert (await shop.place(("123", 1))).status_code == 202
        secret = shop.around.of(next(spec for spec in TABLE if spec.name == "webhooks"))["SHOP_WEBHOOK_SECRET_STRIPE"]
        webhook = senders.example("stripe", secret=secret, order_id="no-such-order")
        url = f"{shop.address('SHOP_WEBHOOKS_URL')}/webhooks/stripe"
        assert (await shop.http.post(url, content=webhook.body, headers=webhook.headers)).status_code == 200
        await fires(http, {"QueueBacklog", "QueueTooOld", "DeadLetters", "ProcessDown", "BreakerOpen", "HopErrors"})


async def test_with_a_slow_way_to_the_catalog(tmp_path: Path) -> None:
    """Reads are answered late: the edge is set to be slow."""
    listen, behind = free_ports(2)
    link = LinkSpec("gateway->catalog", "gateway", "catalog", "gRPC", ("127.0.0.1", listen), ("127.0.0.1", behind))
    env = {
        **FREELY,
        "SHOP_CATALOG_PORT": str(behind),
        "SHOP_CATALOG_ADDRESS": f"127.0.0.1:{listen}",
        "SHOP_EDGE_CACHE_BYTES": "0",
    }
    async with (
        proxying([link]) as proxy,
        shop_with_metrics(tmp_path, env) as shop,
        prometheus(shop, tmp_path) as http,
        meanwhile(shop, "/v1/products/42"),
    ):
        proxy.set([link.name], parse(["delay=700ms"]), 600)
        await fires(http, {"GatewaySlow"})


async def test_without_orders(tmp_path: Path) -> None:
    """Its routes fail, as the edge is set to."""
    async with (
        shop_with_metrics(tmp_path, FREELY, without=("orders",)) as shop,
        prometheus(shop, tmp_path) as http,
        meanwhile(shop, "/v1/orders", headers=await shop.bearer()),
    ):
        await fires(http, {"GatewayErrors"})


async def test_without_the_broker(tmp_path: Path) -> None:
    """What was accepted waits in the outbox, and an alert fires."""
    (port,) = free_ports(1)
    env = {**FREELY, "SHOP_BROKER_URL": f"amqp://guest:guest@127.0.0.1:{port}/"}
    async with shop_with_metrics(tmp_path, env) as shop, prometheus(shop, tmp_path) as http:
        assert (await shop.place(("42", 1))).status_code == 202
        await fires(http, {"OutboxLag"})


async def test_with_readers_that_have_stopped(tmp_path: Path) -> None:
    """Hundreds of clients stop reading while large events are sent to them: each is closed, and an alert fires."""
    async with (
        shop_with_metrics(tmp_path, {**FREELY, "SHOP_NOTIFIER_BACKLOG": str(64 << 10)}) as shop,
        prometheus(shop, tmp_path) as http,
    ):
        url = f"{shop.address('SHOP_NOTIFIER_URL').replace('http', 'ws', 1)}/notifications?token={await shop.token()}"
        broker = await connect(f"embedded:{tmp_path / 'broker.sqlite'}", Topology.load(TOPOLOGY))
        try:
            for number in range(1, _CROWDS + 1):
                await _stop_reading(url, broker.log, await_drops=partial(_dropped, http, number * _CROWD))
        finally:
            await broker.close()
        await fires(http, {"SlowReaders"})


async def _stop_reading(url: str, log: EventLog, *, await_drops: Callable[[], Awaitable[bool]]) -> None:
    """A crowd of clients subscribes and reads no more; events are sent until the notifier has closed all of them."""
    async with AsyncExitStack() as stack:
        for _ in range(_CROWD):
            client = await stack.enter_async_context(
                websockets.connect(url, max_queue=1, ping_interval=None, open_timeout=60)
            )
            stack.callback(client.transport.abort)
            await client.send('{"action": "subscribe", "topics": ["order.*"]}')
            await client.recv()

        async def all_dropped() -> bool:
            await log.append([an_event(filler="x" * 32_000) for _ in range(20)])
            return await await_drops()

        await eventually(all_dropped, within=120)


async def _dropped(http: httpx.AsyncClient, count: int) -> bool:
    found = await answer(http, 'sum(notifier_drops_total{reason="too_slow"})')
    return bool(found) and float(found[0]["value"][1]) >= count


async def test_with_a_copy_of_reports_that_is_frozen(tmp_path: Path) -> None:
    """It keeps its partition of the log for as long as its lease is: the other copy shows how much waits."""
    reports = next(spec for spec in TABLE if spec.name == "reports")
    async with shop_with_metrics(tmp_path, FREELY, without=("reports",)) as shop, AsyncExitStack() as stack:
        env = {**shop.around.of(reports), "SHOP_REPORTS_LEASE": "3600"}
        frozen = await _copy_of_reports(stack, {**env, "SHOP_REPORTS_PORT": "0", "SHOP_METRICS_PORT": "0"})
        await eventually(lambda: _is_read(tmp_path / "reports.sqlite"), within=60)
        frozen.send_signal(signal.SIGSTOP)
        await _copy_of_reports(stack, env)
        http = await stack.enter_async_context(prometheus(shop, tmp_path))

        async def behind() -> bool:
            assert (await shop.place(("42", 1))).status_code == 202
            found = await answer(http, "max(sum by (group) (log_group_lag_events))")
            return bool(found) and float(found[0]["value"][1]) > 1_000

        await eventually(behind, within=240)
        await fires(http, {"LogGroupLag"})


async def _copy_of_reports(stack: AsyncExitStack, env: Mapping[str, str]) -> asyncio.subprocess.Process:
    """A process that serves, and is killed at the end."""
    command = (sys.executable, "-m", "tests.reports.copy_process")
    process = await asyncio.create_subprocess_exec(*command, env=dict(env), stdout=asyncio.subprocess.PIPE)

    async def killed() -> None:
        process.kill()
        await process.wait()

    stack.push_async_callback(killed)
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert (await process.stdout.readline()).strip().isdigit()
    return process


def _is_read(database: Path) -> bool:
    """Whether a copy has the log's partition."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT 1 FROM log_partitions WHERE owner != ''").fetchall())


def test_all_alerts_are_tried() -> None:
    """No deployed alert is left out above."""
    text = Path(__file__).read_text()
    assert [rule["alert"] for rule in rules() if f'"{rule["alert"]}"' not in text] == []

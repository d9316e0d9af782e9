"""Each deployed alert fires when its fault is there: a real Prometheus, real shops, and the minutes that it takes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from partners import senders
from shop.fault.links.proxy import LinkSpec, proxying
from shop.fault.links.toxics import parse
from shop.process_table import TABLE
from tests.metrics.scraping import ALERTS, prometheus, rules
from tests.metrics.test_queries import shop_with_metrics
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


async def fires(http: httpx.AsyncClient, names: set[str], within: float = 400) -> None:
    """Wait until all of these alerts fire, whatever else does."""

    async def firing() -> bool:
        alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
        assert {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"} >= names
        return True

    await eventually(firing, within=within)


async def fires_by_simulation(
    name: str, series: Mapping[str, str], folder: Path, *, labels: Mapping[str, str] | None = None, value: str = ""
) -> None:
    """Prometheus's own simulation of these series, a value every 15 s, has this alert fire after 10 minutes."""
    (rule,) = [rule for rule in rules() if rule["alert"] == name]
    labels = labels or {}
    filled = {key: _filled(text, labels, value) for key, text in rule["annotations"].items()}
    expected = {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": filled}
    case = {
        "interval": "15s",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [{"eval_time": "10m", "alertname": name, "exp_alerts": [expected]}],
    }
    (folder / "rules.yml").write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": [case]}))
    process = await asyncio.create_subprocess_exec(
        *("promtool", "test", "rules", str(folder / "rules.yml")),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode()


def _filled(text: str, labels: Mapping[str, str], value: str) -> str:
    for key, found in labels.items():
        text = text.replace(f"{{{{ $labels.{key} }}}}", found)
    return text.replace("{{ $value }}", value)


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
    """By Prometheus's own simulation, two clients a second that are closed because they do not read.

    That a client which takes nothing is closed and counted is tried in `tests/notifier`; hundreds of them a minute are
    more than a test's machine carries beside them.
    """
    await fires_by_simulation("SlowReaders", {'notifier_drops_total{reason="too_slow"}': "0+30x40"}, tmp_path)


async def test_with_a_group_that_does_not_read(tmp_path: Path) -> None:
    """By Prometheus's own simulation, 600 events in each of two partitions that two copies show alike.

    That the metric is what was not read is tried in `tests/contract/test_group_gauges.py`.
    """
    labels = {"process": "reports", "group": "sales"}
    named = ",".join(f'{key}="{value}"' for key, value in labels.items())
    shown = [f'{named},instance="{copy}",partition="{each}"' for copy in "ab" for each in range(2)]
    series = {f"log_group_lag_events{{{each}}}": "600x40" for each in shown}
    await fires_by_simulation("LogGroupLag", series, tmp_path, labels=labels, value="1200")


def test_all_alerts_are_tried() -> None:
    """No deployed alert is left out above."""
    text = Path(__file__).read_text()
    assert [rule["alert"] for rule in rules() if f'"{rule["alert"]}"' not in text] == []

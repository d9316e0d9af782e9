"""Every query of the dashboards and of the alerts, asked of a real Prometheus that has scraped a real shop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from shop.process_table import TABLE
from tests.compose.metrics import expressions
from tests.compose.stack import ROOT
from tests.metrics.scraping import ALERTS, answer, compared, prometheus, rules
from tests.shop import Shop, run_of_ports, shop_in_one_loop
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
needs_prometheus = pytest.mark.prometheus

# Metrics of RabbitMQ's own exporter alone; the composed shop's tests read these (tests/compose).
OF_RABBITMQ = "rabbitmq_"


@asynccontextmanager
async def shop_with_metrics(folder: Path, env: Mapping[str, str] | None = None, **options: Any) -> AsyncIterator[Shop]:
    """A shop whose processes show their metrics, each at a port of a run, and whose clients are soon refused."""
    metrics = {"SHOP_METRICS_PORT": str(run_of_ports(len(TABLE))), "SHOP_CLIENT_RATE_LIMIT": "500/minute"}
    async with shop_in_one_loop(folder, {**metrics, **(env or {})}, **options) as shop:
        yield shop


async def _traffic(shop: Shop) -> None:
    """An order that ships, reads, what is not there, and a client that calls too often."""
    placed = await shop.place(("42", 1))
    order_id = placed.json()["id"]

    async def shipped() -> bool:
        return await shop.status(order_id) == "shipped"

    await eventually(shipped, within=60)
    await shop.http.get("/v1/products/42")
    await shop.http.get("/v1/orders/no-such-order", headers=await shop.bearer())
    while (await shop.http.get("/v1/products/42")).status_code != 429:
        pass


@needs_prometheus
async def test_every_query_returns_data(tmp_path: Path) -> None:
    """Each query of each dashboard, and what each alert looks at, finds series in what the shop shows."""
    asked = [each for each in expressions() if OF_RABBITMQ not in each] + [compared(rule["expr"]) for rule in rules()]
    async with shop_with_metrics(tmp_path) as shop, prometheus(shop, tmp_path) as http:
        await _traffic(shop)

        async def without_data() -> bool:
            missing = [each for each in asked if not await answer(http, each)]
            assert missing == []
            return True

        await eventually(without_data, within=90)
        await _exemplars_lead_to_an_xray(shop, http)


async def _exemplars_lead_to_an_xray(shop: Shop, http: httpx.AsyncClient) -> None:
    """Durations of hops and of requests carry the ids of traces that the console shows."""
    for name in ("hop_duration_seconds_bucket", "http_server_request_duration_seconds_bucket"):
        window = {"query": name, "start": "0", "end": "4000000000"}
        found = (await http.get("/api/v1/query_exemplars", params=window)).json()["data"]
        ids = [each["labels"]["trace_id"] for series in found for each in series["exemplars"]]
        assert ids, name
        console = shop.address("SHOP_CONSOLE_URL")
        shown = [(await shop.http.get(f"{console}/api/traces/{trace_id}/hops")).status_code for trace_id in ids[:20]]
        assert 200 in shown, name


@needs_prometheus
async def test_faults_fire_their_alerts(tmp_path: Path) -> None:
    """Without the ERP its breaker opens and its hops fail, and a process that is away is missed: all raise alerts."""
    async with (
        shop_with_metrics(tmp_path, without=("legacy_soap", "mailer")) as shop,
        prometheus(shop, tmp_path) as http,
    ):

        async def raised() -> bool:
            await asyncio.gather(*(shop.http.get(f"/v1/products/{each}/availability") for each in (1, 2, 3)))
            alerts = (await http.get("/api/v1/alerts")).json()["data"]["alerts"]
            assert {each["labels"]["alertname"] for each in alerts} >= {"ProcessDown", "BreakerOpen", "HopErrors"}
            down = {each["labels"].get("process") for each in alerts if each["labels"]["alertname"] == "ProcessDown"}
            assert down == {"mailer"}
            return True

        await eventually(raised, within=120)


@needs_prometheus
async def test_the_rules_are_valid() -> None:
    """Prometheus's own tool finds nothing to say against the rules."""
    process = await asyncio.create_subprocess_exec(
        "promtool", "check", "rules", str(ALERTS), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode()


def test_each_alert_has_a_runbook_and_a_fault() -> None:
    """Each alert names its own page, which says what to look at, what to do, and the fault that fires it."""
    pages = set()
    for rule in rules():
        page = rule["annotations"]["runbook"]
        text = (ROOT / page).read_text()
        assert f"`{rule['alert']}`" in text
        assert rule["annotations"]["fault"].split(",")[0] in text
        assert [line for line in text.splitlines() if line.startswith("## ")] == ["## Look", "## Do", "## Fire it"]
        pages.add((ROOT / page).name)
    assert pages == {path.name for path in (ROOT / "docs/runbooks").glob("*.md")} - {"README.md"}

"""Every query of the dashboards and of the alerts, asked of a real Prometheus that has scraped a real shop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from shop.process_table import TABLE
from tests.compose.metrics import expressions
from tests.compose.stack import ROOT
from tests.deploy.manifests import KUBERNETES, pick, read
from tests.metrics.scraping import ALERTS, addresses, answer, compared, discovered, prometheus, rules
from tests.shop import Shop, run_of_ports, shop_in_one_loop
from tests.waiting import eventually

pytestmark = pytest.mark.timeout(300)
needs_prometheus = pytest.mark.prometheus

# Metrics of RabbitMQ's own exporter alone; the composed shop's tests read these (tests/compose).
OF_RABBITMQ = "rabbitmq_"
# A viewer of this one shop's spans, and the stand-ins for the outside.
WITHOUT_METRICS = {"console", "legacy_soap", "payment_provider", "smtp_sink"}


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
            assert down == {"mailer", "rabbitmq"}  # this shop's broker is the embedded one
            return True

        await eventually(raised, within=120)


async def test_every_process_with_metrics_is_scraped(tmp_path: Path) -> None:
    """Each process of ours shows metrics, and is among those that Prometheus finds, in compose and in Kubernetes."""
    shown = set()
    async with shop_with_metrics(tmp_path) as shop:
        for name, address in addresses(shop).items():
            with suppress(httpx.ConnectError):
                response = await shop.http.get(f"http://{address}/metrics")
                assert response.status_code == 200, name
                shown.add(name)
    assert {spec.name for spec in TABLE} - shown == WITHOUT_METRICS
    assert _mandatory() == shown | {"rabbitmq"}
    monitors = pick(read(KUBERNETES / "components/monitoring/monitors.yaml"), "PodMonitor").values()
    selected = {name for each in monitors for name in each["spec"]["selector"]["matchExpressions"][0]["values"]}
    assert selected == {name.replace("_", "-") for name in shown}


def _mandatory() -> set[str]:
    """What Prometheus scrapes, without the further copies of the profile `scale`."""
    return {each for each in discovered() if not each.rpartition("_")[2].isdigit()}


@needs_prometheus
async def test_a_process_without_a_target_is_down(tmp_path: Path) -> None:
    """Docker's DNS forgets a stopped container, and Prometheus its target: the alert fires, with the process's name."""
    (notes,) = (rule["annotations"] for rule in rules() if rule["alert"] == "ProcessDown")
    names = _mandatory()

    def firing(name: str) -> dict[str, Any]:
        labels = {"severity": "critical", "process": name}
        return {
            "exp_labels": labels,
            "exp_annotations": {**notes, "summary": f"{name} does not answer Prometheus"},
        }

    cases = [
        {
            "interval": "5s",
            "input_series": [
                {"series": f'up{{process="{each}"}}', "values": "1x20"} for each in sorted(names - {name})
            ],
            "alert_rule_test": [{"eval_time": "1m", "alertname": "ProcessDown", "exp_alerts": [firing(name)]}],
        }
        for name in sorted(names)
    ]
    await _as_expected(tmp_path, cases)


@needs_prometheus
async def test_a_queue_whose_consumer_hangs_is_a_backlog(tmp_path: Path) -> None:
    """RabbitMQ's count is enough, retries included. The event log and dead letters do not count."""
    others = {"order-mail.dead": 500, "event-log": 500, "order-invoice": 90, "order-invoice.retry": 9}
    hanging = {"order-mail": 101, "order-mail.retry": 9}
    of_retries = {"order-processing": 60, "order-processing.retry": 60}
    expected = [_backlog("order-mail", 110), _backlog("order-processing", 120)]
    await _as_expected(tmp_path, [_case(_counted({**others, **hanging, **of_retries}), "QueueBacklog", expected)])


@needs_prometheus
async def test_a_backlog_fires_once(tmp_path: Path) -> None:
    """What a live consumer shows and what RabbitMQ shows, retries included, is one alert for the queue."""
    shown = {
        f'queue_messages{{queue="order-mail",state="{state}",instance="mailer"}}': count
        for state, count in {"ready": 1, "delayed": 101, "held": 20, "dead": 500}.items()
    }
    series = {**shown, **_counted({"order-mail": 1, "order-mail.retry": 121})}
    await _as_expected(tmp_path, [_case(series, "QueueBacklog", [_backlog("order-mail", 122)])])


def _counted(messages: Mapping[str, int]) -> dict[str, int]:
    """RabbitMQ's series with these counts by queue."""
    return {f'{OF_RABBITMQ}detailed_queue_messages{{queue="{queue}"}}': count for queue, count in messages.items()}


def _case(series: Mapping[str, int], alert: str, expected: list[dict[str, Any]]) -> dict[str, Any]:
    """These series stay as they are; after three minutes the alert fires as expected."""
    return {
        "interval": "5s",
        "input_series": [{"series": name, "values": f"{value}x60"} for name, value in series.items()],
        "alert_rule_test": [{"eval_time": "3m", "alertname": alert, "exp_alerts": expected}],
    }


def _backlog(queue: str, count: int) -> dict[str, Any]:
    """The alert for so many events that wait in the queue."""
    (notes,) = (rule["annotations"] for rule in rules() if rule["alert"] == "QueueBacklog")
    return {
        "exp_labels": {"severity": "warning", "queue": queue},
        "exp_annotations": {**notes, "summary": f"{count} events wait in {queue}"},
    }


async def _as_expected(tmp_path: Path, cases: list[dict[str, Any]]) -> None:
    """Prometheus's own tool finds that the alerts fire as the cases have it."""
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "5s", "tests": cases}))
    process = await asyncio.create_subprocess_exec(
        "promtool", "test", "rules", str(file), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode()


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

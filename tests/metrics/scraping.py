"""A real Prometheus that scrapes a real shop once a second, with the alert rules that are deployed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from shop.process_table import TABLE
from tests.compose.metrics import FOLDER
from tests.shop import Shop, free_ports
from tests.waiting import eventually

ALERTS = FOLDER / "alerts.yml"
# Those that show their metrics where they serve.
_OWN = {"gateway": "SHOP_GATEWAY_URL", "notifier": "SHOP_NOTIFIER_URL"}
_COMPARISON = re.compile(r" (?:>|==) [0-9.]+(?= or |$)")


def rules() -> list[dict[str, Any]]:
    """The alerts that are deployed."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def compared(expression: str) -> str:
    """What an alert looks at, without what it compares it with."""
    return _COMPARISON.sub("", expression)


def discovered() -> set[str]:
    """The names that `prometheus.yml` looks up in Docker's DNS: processes, further copies, and RabbitMQ's nodes."""
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    return {name for job in jobs for each in job["dns_sd_configs"] for name in each["names"]}


def addresses(shop: Shop) -> dict[str, str]:
    """Where each process would show its metrics, if it has any."""
    first = int(shop.around.shared["SHOP_METRICS_PORT"])
    return {
        spec.name: shop.address(_OWN[spec.name]).removeprefix("http://")
        if spec.name in _OWN
        else f"127.0.0.1:{first + TABLE.index(spec)}"
        for spec in TABLE
    }


def targets(shop: Shop) -> dict[str, str]:
    """Address by process, of the processes that `prometheus.yml` names."""
    named = discovered()
    return {name: address for name, address in addresses(shop).items() if name in named}


@asynccontextmanager
async def prometheus(shop: Shop, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A Prometheus of its own; its HTTP API."""
    (port,) = free_ports(1)
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {"job_name": name, "static_configs": [{"targets": [address], "labels": {"process": name}}]}
            for name, address in targets(shop).items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=error",
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as http:

            async def ready() -> bool:
                with suppress(httpx.TransportError):
                    return (await http.get("/-/ready")).status_code == 200
                return False

            await eventually(ready, within=60)
            yield http
    finally:
        process.terminate()
        await process.wait()


async def answer(http: httpx.AsyncClient, expression: str) -> list[Any]:
    """The series that a query finds now."""
    response = await http.get("/api/v1/query", params={"query": expression})
    assert response.status_code == 200, f"{expression}: {response.text}"
    found: list[Any] = response.json()["data"]["result"]
    return found

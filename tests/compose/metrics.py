"""What Prometheus scrapes and what the dashboards ask for, read from the files that configure them."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from tests.compose.stack import ROOT

FOLDER = ROOT / "deploy/compose/observability"
# Where labels stand in PromQL, whose names look like those of metrics.
_LABELS = re.compile(r"\{[^}]*\}|\bby\s*\([^)]*\)|\[[^\]]*\]")
_NAME = re.compile(r"\b([a-z][a-z0-9]*(?:_[a-z0-9]+)+)\b(?!\s*\()")


def scraped() -> list[str]:
    """The URL of each address that Prometheus scrapes without the profile `scale`."""
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    return [url for job in jobs for url in _urls(job)]


def _urls(job: dict[str, Any]) -> list[str]:
    path = job.get("metrics_path", "/metrics")
    query = "&".join(f"{name}={value}" for name, values in job.get("params", {}).items() for value in values)
    return [
        f"http://{name}:{config['port']}{path}{'?' + query if query else ''}"
        for config in job["dns_sd_configs"]
        for name in config["names"]
        if not re.search(r"_[23]$", name)
    ]


def expressions() -> list[str]:
    """Every query of every dashboard."""
    dashboards = [json.loads(path.read_text()) for path in FOLDER.glob("grafana/dashboards/*.json")]
    return [target["expr"] for each in dashboards for panel in each["panels"] for target in panel["targets"]]


def asked() -> set[str]:
    """The names of the metrics in them."""
    return {name for each in expressions() for name in _NAME.findall(_LABELS.sub("", each))}

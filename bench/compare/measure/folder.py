"""The folder that a run leaves: environment and command, rows of results and raw samples as NDJSON, `.hgrm`, pictures.

`results.ndjson` has one row a measurement, as tables and pictures need them; `samples.ndjson` has every latency.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.compare.measure.statistics import write_hgrm

LIBRARIES = (
    "fastapi", "uvicorn", "uvloop", "httptools", "aiohttp", "strawberry-graphql", "grpcio", "protobuf", "connectrpc",
    "pyqwest", "hypercorn", "websockets", "spyne", "waitress", "zeep", "httpx", "mcp", "httpx2", "aio-pika",
    "hdrhistogram",
)  # fmt: skip
ENVIRONMENT, RESULTS, SAMPLES = "environment.json", "results.ndjson", "samples.ndjson"

Row = dict[str, Any]


class Folder:
    """Writes while experiments run: what was measured is there even when a later one fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def begin(self, command: Sequence[str], settings: dict[str, Any]) -> None:
        """Keep the machine, the versions and the command."""
        found = {"command": " ".join(command), "complete": [], **settings, **environment()}
        (self.path / ENVIRONMENT).write_text(json.dumps(found, indent=2) + "\n")

    def complete(self, experiment: str) -> None:
        """Note that an experiment was carried out to its end: only then is it drawn."""
        path = self.path / ENVIRONMENT
        found = json.loads(path.read_text())
        path.write_text(json.dumps(found | {"complete": [*found["complete"], experiment]}, indent=2) + "\n")

    def add(self, row: Row) -> None:
        """Keep one result. `experiment` and `variant` name it."""
        with (self.path / RESULTS).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def sample(self, experiment: str, variant: str, name: str, rounds: Sequence[Sequence[float]]) -> None:
        """Keep every latency of some rounds, in seconds, and their distribution; null is a failed call."""
        with (self.path / SAMPLES).open("a") as file:
            for number, seconds in enumerate(rounds):
                kept = [round(each, 7) if each != float("inf") else None for each in seconds]
                row = {"experiment": experiment, "variant": variant, "name": name, "round": number, "seconds": kept}
                file.write(json.dumps(row) + "\n")
        everything = [each for seconds in rounds for each in seconds]
        write_hgrm(everything, self.path / f"{experiment}-{variant}-{name}.hgrm".replace(" ", "-").replace("/", "-"))


def environment() -> Row:
    """The conditions on which the figures depend."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_1m": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": sys.version.split()[0],
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def rows(folder: Path) -> list[Row]:
    """All results of the experiments that were carried out to their end."""
    complete = json.loads((folder / ENVIRONMENT).read_text())["complete"]
    found = [json.loads(line) for line in (folder / RESULTS).read_text().splitlines()]
    return [row for row in found if row["experiment"] in complete]


def rows_of(found: Iterable[Row], experiment: str, **wanted: Any) -> list[Row]:
    """The rows of an experiment that have these values."""
    return [
        row
        for row in found
        if row["experiment"] == experiment and all(row.get(name) == value for name, value in wanted.items())
    ]

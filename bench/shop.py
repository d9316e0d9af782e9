"""A whole shop for a benchmark: `shop up` on a fresh directory and free ports."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.roles import clean_environment
from shop.process_table import TABLE
from shop.started_shop import all_ready, running, stop
from shop.supervisor import state
from shop.supervisor.state import ProcessState
from shop.urls import url_of

_TIMEOUT = 180.0
_STOP_TIMEOUT = 30.0
_POLL = 0.005


@dataclass(frozen=True, slots=True)
class RunningShop:
    """`ready_seconds` is from exec until the last process was ready."""

    env: dict[str, str]
    supervisor: int
    ready_seconds: float

    def pss_mb(self) -> dict[str, float]:
        """Proportional memory of each process and the supervisor, in MB; empty where there is no /proc."""
        pids = {process.name: process.pid for process in _processes(self.env)}
        found = {name: pss_mb(pid) for name, pid in {"supervisor": self.supervisor, **pids}.items() if pid is not None}
        return {name: pss for name, pss in found.items() if pss is not None}

    def pids(self) -> dict[str, int]:
        """The process id of each process that runs."""
        return {process.name: process.pid for process in _processes(self.env) if process.pid is not None}

    def address(self, setting: str) -> str:
        """host:port of the port that this setting moves."""
        return next(f"127.0.0.1:{each.ports[setting]}" for each in _processes(self.env) if setting in each.ports)

    def url(self, process: str) -> str:
        return url_of(process, self.env)

    def ports(self) -> dict[str, int]:
        """Setting -> port, of all processes."""
        return {setting: port for process in _processes(self.env) for setting, port in process.ports.items()}

    @contextmanager
    def another(self, process: str, settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """One more process of this shop, with settings of its own, by `shop run`; yields it at once."""
        own = {setting: str(port) for setting, port in self.ports().items()} | settings
        command = [sys.executable, "-m", "shop", "run", process]

        def start() -> subprocess.Popen[bytes]:
            with log.open("wb") as output:
                return subprocess.Popen(command, env={**self.env, **own}, stdout=output, stderr=subprocess.STDOUT)

        with running(start, partial(stop, within=_STOP_TIMEOUT)) as started:
            yield started


@contextmanager
def fresh_shop(**settings: str) -> Iterator[RunningShop]:
    """Start a shop with these settings, wait until it is ready, and stop it at the end.

    Raises `RuntimeError` when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="bench-shop-") as folder:
        any_port = {port.setting: "0" for spec in TABLE for port in spec.ports}
        own = {**any_port, "SHOP_DATA_DIR": folder, "SHOP_LOG_LEVEL": "warning", **settings}
        env = clean_environment(**own)
        log = Path(folder) / "bench.log"
        up = [sys.executable, "-m", "shop", "up"]

        def start() -> subprocess.Popen[bytes]:
            with log.open("wb") as output:
                return subprocess.Popen(up, env=env, stdout=output, stderr=subprocess.STDOUT)

        began = time.perf_counter()
        with running(start, partial(stop, within=_STOP_TIMEOUT)) as supervisor:
            _wait(supervisor, env, log)
            yield RunningShop(env, supervisor.pid, time.perf_counter() - began)


def _wait(supervisor: subprocess.Popen[bytes], env: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while not all_ready(Path(env["SHOP_DATA_DIR"])):
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the shop did not become ready:\n{log.read_text(errors='replace')[-2_000:]}")
        time.sleep(_POLL)


def _processes(env: dict[str, str]) -> list[ProcessState]:
    return state.read(Path(env["SHOP_DATA_DIR"]))


def pss_mb(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6

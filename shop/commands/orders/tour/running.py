"""A shop for the tour: the one that runs, or one of its own for as long as the tour takes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from shop.errors import Refused
from shop.started_shop import all_ready, running, stop, unwound_by_signals
from shop.urls import data_dir, elsewhere, trust, url_of

START_TIMEOUT = 60.0
READY_TIMEOUT = 15.0
STOP_TIMEOUT = 20.0
_POLL = 0.1
_SHOWN = 2_000


@contextmanager
def a_running_shop(env: Mapping[str, str]) -> Iterator[None]:
    """Use the shop that runs; start one where none does, and stop it afterwards. Raises `Refused`."""
    if ready(env) is None:
        if setting := elsewhere(env):
            raise Refused(f"the gateway does not answer ({setting}); a shop is started by a tour only on this machine")
        with _own_shop(env):
            yield
        return
    deadline = time.monotonic() + READY_TIMEOUT
    while not ready(env):
        if time.monotonic() > deadline:
            raise Refused(f"the shop at {url_of('gateway', env)} is not ready; run `shop status` for details")
        time.sleep(_POLL)
    yield


def ready(env: Mapping[str, str]) -> bool | None:
    """Return whether the gateway is ready; None when nothing listens there."""
    try:
        response = httpx.get(f"{url_of('gateway', env)}/readyz", timeout=2, trust_env=False, verify=trust(env) or True)
    except httpx.ConnectError:
        return None
    except httpx.TransportError:
        return False
    return response.is_success


@contextmanager
def _own_shop(env: Mapping[str, str]) -> Iterator[None]:
    folder = data_dir(env)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "tour.log"
    sys.stderr.write(f"no shop runs at {url_of('gateway', env)}: starting one (its log: {log})\n")

    def start() -> subprocess.Popen[bytes]:
        with log.open("wb") as output:
            return subprocess.Popen(  # nosec B603 # our own arguments
                [sys.executable, "-m", "shop", "up"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"SHOP_LOG_FORMAT": "text", **env},  # what a person reads when it does not start
            )

    with unwound_by_signals(), running(start, partial(stop, within=STOP_TIMEOUT)) as supervisor:
        _wait(supervisor, env, folder, log)
        yield


def _wait(supervisor: subprocess.Popen[bytes], env: Mapping[str, str], folder: Path, log: Path) -> None:
    """Wait until every process is ready, not only the gateway."""
    deadline = time.monotonic() + START_TIMEOUT
    while not (all_ready(folder) and ready(env)):
        if supervisor.poll() is not None:
            raise Refused(f"the shop did not start:\n{log.read_text(errors='replace')[-_SHOWN:]}")
        if time.monotonic() > deadline:
            raise Refused(f"the shop was not ready within {START_TIMEOUT:.0f} s; its log: {log}")
        time.sleep(_POLL)

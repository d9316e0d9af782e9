"""A shop of one's own to break: every process, with a lab, in a directory and on ports of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from shop.errors import Refused
from shop.process_table import TABLE
from shop.started_shop import all_ready, running, stop, unwound_by_signals

_START_TIMEOUT = 120.0
_STOP_TIMEOUT = 30.0
_POLL = 0.1
_SHOWN = 2_000
# Shorter waits than a shop that is left alone has: what is tried is what comes after them. And longer budgets: a busy
# machine is not what is tried.
_QUICKER = {
    "SHOP_REQUEST_BUDGET": "5",
    "SHOP_PAYMENT_DELAY": "0.2",
    "SHOP_RETRY_DELAYS": "[0.2, 0.5, 1, 2, 4]",
    "SHOP_SIGN_IN_RATE_LIMIT": "10000/minute",
    "SHOP_LEGACY_SOAP_CONTRACT_CHECK": "1",
    "SHOP_LOG_LEVEL": "warning",
}


@contextmanager
def own_shop(env: Mapping[str, str], log: Path | None = None, tree: Path | None = None) -> Iterator[Mapping[str, str]]:
    """Start it, and stop it afterwards; yields the environment that leads to it. Raises `Refused` if it does not start.

    `env` may say what it runs on (`SHOP_BROKER_URL`, `SHOP_DATABASE_URL`), and override the shorter waits. What the
    shop prints goes to `log`, or is forgotten. `tree` has other code than this one.
    """
    with (
        unwound_by_signals(),
        tempfile.TemporaryDirectory(prefix="shop-lab-", ignore_cleanup_errors=True) as folder,
    ):
        ports = {port.setting: "0" for spec in TABLE for port in spec.ports}
        addresses = {address for spec in TABLE for port in spec.ports for address in port.addresses}
        kept = {name: value for name, value in env.items() if name not in addresses}
        own = {**_QUICKER, **kept, **ports, "SHOP_DATA_DIR": folder}
        log = log or Path(folder) / "up.log"

        def start() -> subprocess.Popen[bytes]:
            with log.open("wb") as output:
                return subprocess.Popen(  # nosec B603 # our own arguments
                    [sys.executable, "-m", "shop", "up", "--lab"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=own,
                    cwd=tree,
                    start_new_session=True,
                )

        with running(start, partial(stop, within=_STOP_TIMEOUT)) as supervisor:
            _wait(supervisor, Path(folder), log)
            yield {name: value for name, value in own.items() if name not in ports}


def _wait(supervisor: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while not all_ready(folder):
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise Refused(f"the shop to be broken did not start:\n{log.read_text(errors='replace')[-_SHOWN:]}")
        time.sleep(_POLL)

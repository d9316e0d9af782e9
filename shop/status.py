"""`shop status`: what the supervisor says of its processes, checked against what is there."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from shop import state
from shop.ports import reachable
from shop.state import ProcessState, State

_PATIENCE = 1.0


def status(env: Mapping[str, str], *, as_json: bool) -> tuple[str, bool]:
    """The report and whether every process is ready, alive and accepts connections on its ports."""
    data_dir = Path(env.get("SHOP_DATA_DIR") or ".shop")
    try:
        found = state.read(data_dir)
    except FileNotFoundError:
        found = []
    checked = [_checked(process, env.get("SHOP_HOST") or "127.0.0.1") for process in found]
    healthy = bool(checked) and all(process.state is State.READY for process in checked)
    if as_json:
        content = {"ready": healthy, "processes": [dataclasses.asdict(process) for process in checked]}
        return json.dumps(content, indent=2), healthy
    if not checked:
        return f"no shop was started in {data_dir.absolute()}", healthy
    rows = [("process", "state", "pid", "port", "restarts"), *(_row(process) for process in checked)]
    return "\n".join(f"{row[0]:<18} {row[1]:<9} {row[2]:>8}  {row[3]:<12} {row[4]:>8}" for row in rows), healthy


def _checked(process: ProcessState, host: str) -> ProcessState:
    """The same, corrected where the process has gone since or does not listen."""
    if process.pid is not None and not _alive(process.pid):
        return dataclasses.replace(process, pid=None, state=State.STOPPED)
    if process.state is State.READY and not all(_accepts(host, port) for port in process.ports.values()):
        return dataclasses.replace(process, state=State.STARTING)
    return process


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((reachable(host), port), timeout=_PATIENCE):
            return True
    except OSError:
        return False


def _row(process: ProcessState) -> tuple[str, str, str, str, str]:
    ports = " ".join(map(str, process.ports.values()))
    return process.name, process.state, str(process.pid or "-"), ports or "-", str(process.restarts)

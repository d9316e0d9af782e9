"""`shop status`: the supervisor's state of its processes, checked against what is there."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shop.commands.processes import log_lag
from shop.errors import Refused
from shop.process_table import TABLE
from shop.supervisor import state
from shop.supervisor.ports import reachable
from shop.supervisor.state import ProcessState, State

if TYPE_CHECKING:
    from chassis.broker.port import QueueDepth

_TIMEOUT = 1.0
_BROKER_TIMEOUT = 3.0


def status(env: Mapping[str, str], *, as_json: bool) -> tuple[str, bool]:
    """The report, and whether every process is ready, alive and accepts connections on its ports.

    Two RabbitMQ clusters behind the broker's name (SHOP_BROKER_METRICS_URL) are reported, and are not healthy.
    """
    data_dir = Path(env.get("SHOP_DATA_DIR") or ".shop")
    found = state.read(data_dir)
    checked = [_checked(process, env.get("SHOP_HOST") or "127.0.0.1") for process in found] or _elsewhere(env)
    broker = _broker(env)
    healthy = bool(checked) and not broker and all(process.state is State.READY for process in checked)
    if as_json:
        processes = [dataclasses.asdict(process) for process in checked]
        content = {
            "ready": healthy,
            "processes": processes,
            "broker": broker,
            "queues": _queues(env, data_dir),
            "event_log": {"reports": _unread(env, checked)},
        }
        return json.dumps(content, indent=2), healthy
    if not checked:
        return f"no shop was started in {data_dir.absolute()}; set SHOP_DATA_DIR to look elsewhere", healthy
    rows = [("process", "state", "pid", "port", "restarts"), *(_row(process) for process in checked)]
    lines = [f"{row[0]:<18} {row[1]:<9} {row[2]:>8}  {row[3]:<12} {row[4]:>8}" for row in rows]
    waiting = [f"queue {_words(queue)}" for queue in _queues(env, data_dir) or [] if _waits(queue)]
    behind = log_lag.words(_unread(env, checked) or ())
    notes = [f"broker: {broker}" if broker else "", f"event log: {behind}" if behind else ""]
    return "\n".join([*lines, *filter(None, notes), *waiting]), healthy


def _configured(env: Mapping[str, str], name: str) -> str:
    """A setting, or what the file holds that is named in its place."""
    file = env.get(f"{name}_FILE")
    return env.get(name) or (Path(file).read_text().strip() if file else "")


def _queues(env: Mapping[str, str], data_dir: Path) -> list[dict[str, Any]] | None:
    """The backlog of each work queue; None where no broker is named or there, or it does not answer."""
    # Imported here, as below: what only shows whether processes are there needs no broker.
    from chassis.broker import connect
    from chassis.broker.port import BrokerUnavailable, Topology
    from chassis.settings import TOPOLOGY

    file = data_dir / "broker.sqlite"
    url, log_url = (_configured(env, name) for name in ("SHOP_BROKER_URL", "SHOP_EVENT_LOG_URL"))
    if not url and not file.exists():
        return None

    async def read() -> list[dict[str, Any]]:
        broker = await connect(url or f"embedded:{file}", Topology.load(TOPOLOGY), log_url=log_url)
        try:
            async with asyncio.timeout(_BROKER_TIMEOUT):
                return [_backlog(depth) for depth in await broker.depths()]
        finally:
            await broker.close()

    try:
        return asyncio.run(read())
    except (BrokerUnavailable, TimeoutError):
        return None


def _unread(env: Mapping[str, str], checked: Sequence[ProcessState]) -> list[dict[str, int]] | None:
    """Lag of reports behind the event log; None where it is not there."""
    ready = any(process.name == "reports" and process.state is State.READY for process in checked)
    return log_lag.progress(env) if ready else None


def _backlog(depth: QueueDepth) -> dict[str, Any]:
    counts = {"ready": depth.ready, "delayed": depth.delayed, "dead": depth.dead}
    age = depth.age()
    return {"queue": depth.queue, **counts, "oldest_seconds": None if age is None else round(age, 1)}


def _waits(queue: Mapping[str, Any]) -> bool:
    return any(queue[state] for state in ("ready", "delayed", "dead"))


def _words(queue: Mapping[str, Any]) -> str:
    """A line such as `order-processing: 12 ready, 1 delayed, 0 dead, the oldest for 3.4 s`."""
    oldest = ""
    if queue["oldest_seconds"] is not None:
        oldest = f", the oldest for {queue['oldest_seconds']:.1f} s"
    elif queue["ready"] or queue["delayed"]:
        oldest = ", for how long RabbitMQ does not report"
    return f"{queue['queue']}: {queue['ready']} ready, {queue['delayed']} delayed, {queue['dead']} dead{oldest}"


def _broker(env: Mapping[str, str]) -> str:
    """Fault of the nodes behind the broker's name; empty where there is none, or no metrics URL is set."""
    metrics_url = env.get("SHOP_BROKER_METRICS_URL", "")
    if not metrics_url:
        return ""
    # Imported here: most shops have no RabbitMQ.
    import httpx

    from shop.broker_nodes import split

    async def check() -> str:
        async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as http:
            return await split(http, metrics_url)

    try:
        return asyncio.run(check())
    except (httpx.HTTPError, OSError, ValueError) as error:
        return f"its nodes do not name their cluster: {type(error).__name__}: {error}".removesuffix(": ")


def _checked(process: ProcessState, host: str) -> ProcessState:
    """The same, corrected where the process has gone since or does not listen."""
    if process.pid is not None and not _alive(process.pid):
        return dataclasses.replace(process, pid=None, state=State.STOPPED)
    if process.state is State.READY and not all(_accepts(host, port) for port in process.ports.values()):
        return dataclasses.replace(process, state=State.STARTING)
    return process


def _elsewhere(env: Mapping[str, str]) -> list[ProcessState]:
    """The processes that the settings name (SHOP_GATEWAY_URL, SHOP_ORDERS_ADDRESS ...): ready if their port accepts.

    Those without a port, which consume queues, cannot be checked from here; their containers' health shows them.
    """
    named = [(spec.name, _address(spec.ports[0].addresses, env)) for spec in TABLE if spec.ports]
    return [
        ProcessState(name, None, State.READY if _accepts(*address) else State.STOPPED, 0, address[1])
        for name, address in named
        if address
    ]


def _address(settings: Iterable[str], env: Mapping[str, str]) -> tuple[str, int] | None:
    for setting in settings:
        if value := env.get(setting):
            try:
                parts = urlsplit(value if "://" in value else f"//{value}")
                port = parts.port or {"https": 443}.get(parts.scheme, 80)
            except ValueError as error:
                raise Refused(f"{setting} must be a host and a port, such as orders:50051") from error
            if parts.hostname:
                return parts.hostname, port
    return None


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
        with socket.create_connection((reachable(host), port), timeout=_TIMEOUT):
            return True
    except OSError:
        return False


def _row(process: ProcessState) -> tuple[str, str, str, str, str]:
    ports = " ".join(map(str, process.ports.values())) or str(process.port or "")
    return process.name, process.state, str(process.pid or "-"), ports or "-", str(process.restarts)

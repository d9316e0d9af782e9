"""`shop up` and `shop run`: from settings to running processes."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from chassis.observability import logs
from chassis.settings import ProcessSettings
from shop.commands.processes import certs, settings_list
from shop.commands.processes.banner import banner
from shop.errors import Refused
from shop.fault.links.plan import LINK_PROXY, routed
from shop.process_table import TABLE, ProcessSpec, select
from shop.supervisor import child, lock, migrations, ports, state
from shop.supervisor.environment import METRICS_PORT, survey
from shop.supervisor.preload import preload
from shop.supervisor.supervisor import Child, Supervisor
from shop.urls import data_dir

log = logging.getLogger(__name__)

RUN_COMMAND = (sys.executable, "-m", "shop", "run")


def up(
    *,
    only: Iterable[str] = (),
    without: Iterable[str] = (),
    tls: bool = False,
    lab: bool = False,
    table: Sequence[ProcessSpec] = TABLE,
    env: Mapping[str, str] | None = None,
    run_command: tuple[str, ...] = RUN_COMMAND,
) -> int:
    """Start processes of the table and keep them running until a signal; returns `Supervisor.run`'s exit code.

    `env` is this process's own environment unless given; `run_command` and a process's name are what a child executes
    where it is not forked. Raises `Refused`, with nothing started, for a name or setting that makes no sense, a port
    that is taken and a data directory in use. With `lab`, connections run through links (`shop.fault.links`).
    """
    began = time.monotonic()
    env = os.environ if env is None else env
    if table is TABLE:
        settings_list.check(env)
        if env is os.environ:
            ProcessSettings()  # what cannot be read is refused before anything is started
    chosen = select(table, only=only, without=without)
    forking = _forks(env)
    lock.hold(data_dir(env))
    if tls:  # within the lock: another shop here may be reading its certificates
        env = _with_tls(env, table)
    around = survey(table, env, starting=True)
    ports.ensure_free(chosen, around.ports, around.host)
    if lab:
        around, chosen = routed(chosen, around), (LINK_PROXY, *chosen)
    log_format = env.get("SHOP_LOG_FORMAT", "")
    logs.configure("shop", log_format=log_format, level=env.get("SHOP_LOG_LEVEL", "info"))

    def prepare() -> None:
        log.info("starting", extra={"processes": len(chosen), "data_dir": str(around.data_dir)})
        if forking:
            preload(chosen)

    def welcome() -> None:
        seconds = time.monotonic() - began
        log.info("all processes are ready", extra={"processes": len(chosen), "seconds": f"{seconds:.2f}"})
        # Where the output is JSON, for machines, a person may still be at the terminal (`make up | tee log`).
        out = sys.stdout if logs.is_text(log_format) else sys.stderr if sys.stderr.isatty() else None
        if out is not None:
            out.write(banner(around.shared, {spec.name for spec in chosen}))
            out.flush()

    children = [
        Child(spec, around.of(spec), {port.setting: around.ports[port.setting] for port in spec.ports})
        for spec in chosen
    ]
    shared = shared_settings(env)
    if forking:
        first = partial(migrations.migrate, chosen, around.shared) if migrations.wanted(around.shared) else None
        forked = Supervisor(children, around.data_dir, on_ready=welcome, settings=shared)
        return forked.run(prepare, first)
    execute = Supervisor(
        children,
        around.data_dir,
        on_ready=welcome,
        settings=shared,
        command=lambda spec: (*run_command, spec.name),
    )
    return execute.run(prepare)


def run(name: str, *, table: Sequence[ProcessSpec] = TABLE, env: Mapping[str, str] | None = None) -> None:
    """Run one process of the table in this one until a signal. Raises `Refused` as `up` does."""
    (spec,) = select((*table, LINK_PROXY), only=[name])
    given = os.environ if env is None else env
    if table is TABLE:
        settings_list.check(given)
    own = {name: given[name] for name in (METRICS_PORT,) if name in given}  # no run of ports: it is one process
    os.environ.update({**survey(table, given, starting=True).of(spec), **own})
    child.run(spec)


def shared_settings(env: Mapping[str, str]) -> dict[str, str]:
    """The settings that commands beside this shop take over, whatever folder they run in."""
    return {name: _from_anywhere(name, env[name]) for name in state.SHARED_SETTINGS if env.get(name)}


def _from_anywhere(name: str, value: str) -> str:
    """A setting's value, whose path, if it is one, is made absolute."""
    if name.endswith("_DIR"):
        return str(Path(value).absolute())
    scheme, colon, path = value.partition(":")
    return f"{scheme}{colon}{Path(path).absolute()}" if scheme == "embedded" else value


def _with_tls(env: Mapping[str, str], table: Sequence[ProcessSpec]) -> Mapping[str, str]:
    """The environment with a folder of certificates: the given one, or our own, made if it is missing."""
    if env.get("SHOP_TLS_DIR"):
        return env
    folder = data_dir(env) / "certs"
    certs.ensure(folder, table)
    return {**env, "SHOP_TLS_DIR": str(folder)}


def _forks(env: Mapping[str, str]) -> bool:
    """Whether children are forked from the supervisor's imports; macOS's own libraries do not survive a fork."""
    method = env.get("SHOP_START_METHOD") or ("spawn" if sys.platform == "darwin" else "fork")
    if method not in ("fork", "spawn"):
        raise Refused(f"SHOP_START_METHOD={method} must be fork or spawn")
    return method == "fork"

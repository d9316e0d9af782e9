"""`processes.json` in the data directory: the supervisor's published process states."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from shop.errors import Refused
from shop.supervisor import lock

_FILE = "processes.json"

# How the shop was started, as far as commands beside it have to do the same.
SHARED_SETTINGS = ("SHOP_ERP", "SHOP_TLS_DIR", "SHOP_BROKER_URL", "SHOP_EVENT_LOG_URL")


class State(StrEnum):
    """The lifecycle state of a process."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process as last seen; `port` is its first, `ports` are all by setting, `pid` is null while none runs."""

    name: str
    pid: int | None
    state: State
    restarts: int
    port: int | None = None
    ports: dict[str, int] = field(default_factory=dict)


def write(data_dir: Path, processes: Iterable[ProcessState], settings: Mapping[str, str] | None = None) -> None:
    """Replace the file at once, so that a reader sees either the old or the new.

    Its mode is 0600: the broker's URL may hold a password.
    """
    content = {
        "supervisor": os.getpid(),
        "settings": dict(settings or {}),
        "processes": [asdict(process) for process in processes],
    }
    draft = data_dir / f"{_FILE}.draft"
    draft.unlink(missing_ok=True)  # one that was left keeps its mode
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(content, indent=1))
    draft.replace(data_dir / _FILE)


def read(data_dir: Path) -> list[ProcessState]:
    """Each process of the shop in this data directory; none where no shop was ever started.

    Where none runs any more all are stopped, whatever a supervisor that was killed has written last: its processes'
    pids and ports may be other programs' by now.
    """
    content = _content(data_dir)
    found = [ProcessState(**{**each, "state": State(each["state"])}) for each in content.get("processes", [])]
    if _is_current(data_dir, content):
        return found
    return [replace(each, pid=None, state=State.STOPPED) for each in found]


def ports_of_running(data_dir: Path) -> dict[str, int]:
    """Port settings with the ports of the shop that runs in this data directory; empty where none runs.

    A process that is being restarted counts: its port is kept for it.
    """
    processes = _current(data_dir).get("processes", [])
    return {setting: port for process in processes for setting, port in process.get("ports", {}).items()}


def settings_of_running(data_dir: Path) -> dict[str, str]:
    """`SHARED_SETTINGS` of the shop that runs in this data directory; empty where none runs."""
    return dict(_current(data_dir).get("settings", {}))


def _current(data_dir: Path) -> dict[str, Any]:
    """The state written by the running supervisor; another user's that is over is not read, so it refuses nothing."""
    if not lock.is_held(data_dir):
        return {}
    content = _content(data_dir)
    return content if _is_current(data_dir, content) else {}


def _is_current(data_dir: Path, content: Mapping[str, Any]) -> bool:
    """Whether the supervisor that has written this has the directory still."""
    return bool(content) and lock.holder(data_dir) == content["supervisor"]


def _content(data_dir: Path) -> dict[str, Any]:
    """The state that was written last; none where it is not whole, such as after a loss of power.

    Raises `Refused` where it is another user's.
    """
    try:
        content = json.loads((data_dir / _FILE).read_text())
    except PermissionError as error:
        raise Refused(f"the shop in {data_dir} is another user's: {_FILE} cannot be read ({error.strerror})") from error
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

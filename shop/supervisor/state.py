"""`processes.json` in the data directory: the supervisor's published process states."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

_FILE = "processes.json"

# How the shop was started, as far as commands beside it have to do the same.
SHARED_SETTINGS = ("SHOP_ERP", "SHOP_TLS_DIR")


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
    """Replace the file at once, so that a reader sees either the old or the new."""
    content = {
        "supervisor": os.getpid(),
        "settings": dict(settings or {}),
        "processes": [asdict(process) for process in processes],
    }
    draft = data_dir / f"{_FILE}.draft"
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(data_dir / _FILE)


def read(data_dir: Path) -> list[ProcessState]:
    """The state written last. Raises `FileNotFoundError` where no shop was ever started."""
    content = json.loads((data_dir / _FILE).read_text())
    return [ProcessState(**{**process, "state": State(process["state"])}) for process in content["processes"]]


def supervisor(data_dir: Path) -> int:
    """The supervisor's pid, by the state written last. Raises `FileNotFoundError` where no shop was ever started."""
    return int(json.loads((data_dir / _FILE).read_text())["supervisor"])


def settings_of_running(data_dir: Path) -> dict[str, str]:
    """`SHARED_SETTINGS` of the shop that runs in this data directory; empty where none runs."""
    if not runs(data_dir):
        return {}
    return dict(json.loads((data_dir / _FILE).read_text()).get("settings", {}))


def runs(data_dir: Path) -> bool:
    """Whether the shop that was last started in this data directory is still there."""
    try:
        os.kill(supervisor(data_dir), 0)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return True

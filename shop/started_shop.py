"""A shop that a command has started for itself: whether it is ready, and its end."""

from __future__ import annotations

import subprocess
from pathlib import Path

from shop.supervisor import state
from shop.supervisor.state import State


def all_ready(folder: Path) -> bool:
    """Whether every process of the shop in this data directory is ready."""
    found = state.read(folder)
    return bool(found) and all(process.state is State.READY for process in found)


def stop(supervisor: subprocess.Popen[bytes], *, within: float) -> None:
    """End it; kill it when it has not ended after so many seconds."""
    supervisor.terminate()
    try:
        supervisor.wait(within)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()

"""Faults of processes: killed, or frozen for a while."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from shop.errors import Refused
from shop.fault.at_work import alone
from shop.fault.faults.ground import Ground
from shop.fault.faults.guard import Guard
from shop.fault.links.client import LinkState
from shop.process_table import TABLE
from shop.supervisor.state import State

_KNOWN = {spec.name for spec in TABLE}
_SIGNALS = {"9": signal.SIGKILL, "15": signal.SIGTERM}
# Seconds of traffic before it that show that a process was at work, or is just now; and for its restart.
_AT_WORK_WITHIN = 1.0
_AT_WORK_NOW = 0.2
_RESTART_TIMEOUT = 40.0
_POLL = 0.1


class OfProcesses:
    """A fault of one or more processes of the shop."""

    def __init__(self, ground: Ground, names: list[str]) -> None:
        """Raises `Refused` for a process that the shop does not have."""
        self._ground, self._names = ground, _checked(names)

    def met_now(self) -> bool:
        """Whether it would meet traffic if it began now; True where that cannot be known."""
        return not self._ground.lab or any(link.recent for link in self._links(_AT_WORK_NOW))

    def _links(self, within: float) -> list[LinkState]:
        return [link for name in self._names for link in self._ground.links_of(name, within)]


class Kill(OfProcesses):
    """Ends processes at once (SIGKILL), or as an operator does (SIGTERM); the supervisor starts them again."""

    momentary = True

    def __init__(self, ground: Ground, names: list[str], options: dict[str, str]) -> None:
        super().__init__(ground, names)
        number = options.pop("signal", "9")
        if number not in _SIGNALS:
            raise Refused(f"signal={number} must be 9 (kill) or 15 (terminate)")
        self._signal = _SIGNALS[number]
        self.words = f"kill {' '.join(names)}" + ("" if number == "9" else f" signal={number}")
        self._seen = 0
        self._failed_before: dict[str, int] = {}
        self._failed = 0
        self._pids: dict[str, int | None] = {}

    def begin(self) -> str:
        """Send the signal to all of them."""
        self._pids = {name: self._ground.process(name).pid for name in self._names}
        links = self._links(_AT_WORK_WITHIN)
        self._seen = sum(link.recent for link in links)
        self._failed_before = {link.name: link.failed for link in links}
        for pid in self._pids.values():
            if pid is not None:
                with suppress(ProcessLookupError):  # it has just ended by itself
                    os.kill(pid, self._signal)
        verb = "killed" if self._signal == signal.SIGKILL else "asked to stop"
        return f"{', '.join(f'{name} (pid {pid})' for name, pid in self._pids.items())} {verb}"

    def end(self) -> str:
        """Wait until all are back."""
        deadline = time.monotonic() + _RESTART_TIMEOUT
        left = list(self._names)
        while left and time.monotonic() < deadline and self._ground.supervised():
            left = [name for name in left if not self._back(name)]
            time.sleep(_POLL)
        for name in self._names:
            for link in self._ground.links_of(name):
                self._failed += max(0, link.failed - self._failed_before.get(link.name, link.failed))
        if left:
            return f"{', '.join(left)} did not come back within {_RESTART_TIMEOUT:g} s"
        return f"{', '.join(self._names)} started again"

    def met(self) -> int | None:
        """Chunks that crossed its links in the last second of its life, and connections that it then refused."""
        return self._seen + self._failed if self._ground.lab else None

    def _back(self, name: str) -> bool:
        with suppress(Refused):
            process = self._ground.process(name)
            return process.state is State.READY and process.pid != self._pids[name]
        return False


class Freeze(OfProcesses):
    """Stops processes where they are (SIGSTOP): alive, connected, and silent."""

    momentary = False

    def __init__(self, ground: Ground, names: list[str]) -> None:
        super().__init__(ground, names)
        self.words = f"freeze {' '.join(names)}"
        self._pids: list[int] = []
        self._guard: Guard | None = None
        self._seen = 0
        self._before: dict[str, int] = {}
        self._release: Callable[[], None] = lambda: None

    def begin(self) -> str:
        """Freeze all of them. A guard thaws them should this program be killed. Raises `Refused`."""
        self._release = alone(self._ground.data_dir, *(name for name in dict.fromkeys(self._names)))
        self._pids = [pid for name in self._names if (pid := self._ground.process(name).pid)]
        links = self._links(_AT_WORK_WITHIN)
        self._seen = sum(link.recent for link in links)
        self._before = {link.name: link.chunks for link in links}
        self._guard = Guard(thaw, [str(pid) for pid in self._pids])
        for pid in self._pids:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(pid, signal.SIGSTOP)
        return f"{', '.join(self._names)} frozen"

    def end(self) -> str:
        """Let them go on."""
        for name in self._names:
            for link in self._ground.links_of(name):
                if link.target == name:
                    self._seen += max(0, link.chunks - self._before.get(link.name, link.chunks))
        thaw([str(pid) for pid in self._pids])
        if self._guard is not None:
            self._guard.dismiss()
        self._release()
        return f"{', '.join(self._names)} went on"

    def met(self) -> int | None:
        """Chunks of its last second, and those that were sent to it while it was frozen."""
        return self._seen if self._ground.lab else None


def thaw(pids: Sequence[str]) -> None:
    """Let frozen processes go on."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGCONT)


def _checked(names: list[str]) -> list[str]:
    if not names or (unknown := [name for name in names if name not in _KNOWN]):
        raise Refused(
            f"name processes of the shop: {', '.join(sorted(_KNOWN))}" + (f"; not {unknown[0]}" if names else "")
        )
    return names

"""A clock that is set while processes run: their wall clock is ahead or behind for a while, and then right again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from chassis.wall_clock import LabClock
from shop.errors import Refused
from shop.fault.at_work import alone
from shop.fault.faults.ground import Ground
from shop.fault.faults.guard import Guard
from shop.fault.links.plan import clock_file, follows_clock
from shop.process_table import TABLE

# A clock is right again after that, whatever happens to us.
_MAX_SECONDS = 3_600.0
_MAX_ERROR = 366 * 86_400.0
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)(s|min|h|d)")
_UNITS = {"s": 1.0, "min": 60.0, "h": 3_600.0, "d": 86_400.0}
_USAGE = "usage: clock [PROCESS…] ahead=1h or behind=10min (s, min, h or d, at most 366d); without a name, all of them"


class Clock:
    """Sets the wall clock of processes ahead or behind, and back; what they measure by the monotonic one stays right.

    It is what the shop's own code takes from `chassis.wall_clock`. The databases' clocks, certificates' validity (TLS)
    and the legacy ERP, which is another system, are not touched.
    """

    momentary = False

    def __init__(self, ground: Ground, names: Sequence[str], options: dict[str, str]) -> None:
        known = [spec.name for spec in TABLE if follows_clock(spec)]
        if unknown := [name for name in names if name not in known]:
            raise Refused(f"{unknown[0]} has no clock that can be set; processes that have: {', '.join(known)}")
        ways = [way for way in ("ahead", "behind") if way in options]
        if len(ways) != 1:
            raise Refused(_USAGE)
        (way,) = ways
        amount = options.pop(way)
        self._ahead = _seconds(amount) * (1 if way == "ahead" else -1)
        self._text = f"{amount} {way}"
        self.words = " ".join(["clock", *names, f"{way}={amount}"])
        self._ground, self._all, self._names = ground, not names, list(names) or known
        self._clocks: dict[str, LabClock] = {}
        self._before: dict[str, int] = {}
        self._guard: Guard | None = None
        self._release: Callable[[], None] = lambda: None

    def begin(self) -> str:
        """Set the clocks. A guard sets them right should this program be killed. Raises `Refused`."""
        files = {name: clock_file(self._ground.data_dir, name) for name in self._names}
        files = {name: file for name, file in files.items() if file.exists()}
        if not self._ground.lab or not files:
            raise Refused("no clock can be set here: start the shop with `shop up --lab`")
        self._release = alone(self._ground.data_dir, *(f"clock of {name}" for name in files))
        self._clocks = {name: LabClock(file) for name, file in files.items()}
        self._before = {name: clock.readings for name, clock in self._clocks.items()}
        self._guard = Guard(right, [str(file) for file in files.values()])
        for clock in self._clocks.values():
            clock.set(self._ahead, _MAX_SECONDS)
        return f"{self._whose()}: the clock is {self._text}"

    def end(self) -> str:
        """Set them right."""
        for clock in self._clocks.values():
            clock.set(0.0, 0.0)
        if self._guard is not None:
            self._guard.dismiss()
        self._release()
        return f"{self._whose()}: the clock is right; it was read {self.met()} times meanwhile"

    def met(self) -> int | None:
        """The number of times that processes read a clock that was wrong."""
        return sum(clock.readings - self._before[name] for name, clock in self._clocks.items())

    def _whose(self) -> str:
        return "all processes" if self._all else ", ".join(self._clocks or self._names)


def right(files: Sequence[str]) -> None:
    """Set the clocks of these files right."""
    for file in map(Path, files):
        if file.exists():
            LabClock(file).set(0.0, 0.0)


def _seconds(amount: str) -> float:
    parts = _AMOUNT.fullmatch(amount)
    seconds = float(parts[1]) * _UNITS[parts[2]] if parts else 0.0
    if not 0 < seconds <= _MAX_ERROR:
        raise Refused(f"{amount or '(nothing)'} is not a time of this form: {_USAGE}")
    return seconds

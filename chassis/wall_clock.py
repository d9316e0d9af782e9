"""The wall clock: the one place from which processes take the time of day, for what is stored, signed or shown.

What takes so long, or comes so much later, is measured by `time.monotonic`, which is never set.

A fault lab (`shop up --lab`) can let the wall clock of one process be wrong, as it is after NTP or a person has set it.
Spans and log lines have the true time even then: they are what the fault is watched by.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

# Of a lab's file: seconds ahead (negative: behind), and until when, by the monotonic clock, which all processes of a
# machine share. Each is written at once, so that none is read by halves.
_AHEAD, _UNTIL = struct.Struct("@d"), struct.Struct("@d")
# How often the clock was read meanwhile.
_READ = struct.Struct("@Q")
_UNTIL_AT, _READ_AT = _AHEAD.size, _AHEAD.size + _UNTIL.size
_SIZE = _READ_AT + _READ.size

_error: Callable[[], float] | None = None


def seconds() -> float:
    """Seconds since the epoch."""
    return time.time() if _error is None else time.time() + _error()


def now() -> datetime:
    """The current time, in UTC."""
    moment = datetime.now(UTC)
    return moment if _error is None else moment + timedelta(seconds=_error())


def follow(file: Path) -> None:
    """Be as wrong, from now on and in all of this process, as a lab has written to this file (`LabClock`)."""
    global _error  # noqa: PLW0603 - a process has one clock
    _error = LabClock(file).error


class LabClock:
    """The error of a process's clock, in a file that the lab and the process share."""

    def __init__(self, file: Path) -> None:
        """Raises `OSError` where the file is not there, `ValueError` where it is none of `create`."""
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _SIZE)

    @staticmethod
    def create(file: Path) -> None:
        """Make the file of a clock that is right."""
        file.write_bytes(bytes(_SIZE))

    def set(self, ahead: float, lasting: float) -> None:
        """Let the clock be so many seconds ahead (negative: behind), for so many seconds at most."""
        _UNTIL.pack_into(self._shared, _UNTIL_AT, time.monotonic() + lasting)
        _AHEAD.pack_into(self._shared, 0, ahead)

    @property
    def readings(self) -> int:
        """The number of times that the clock was read while it was wrong."""
        return int(_READ.unpack_from(self._shared, _READ_AT)[0])

    def error(self) -> float:
        """The seconds by which it is ahead now; each call that finds it wrong counts as a reading."""
        ahead: float = _AHEAD.unpack_from(self._shared)[0]
        if not ahead or time.monotonic() >= _UNTIL.unpack_from(self._shared, _UNTIL_AT)[0]:
            return 0.0
        _READ.pack_into(self._shared, _READ_AT, self.readings + 1)
        return ahead

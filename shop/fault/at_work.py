"""The faults that are at work: each is a running command, and a file beside the shop's data that it holds locked."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from shop.errors import Refused
from shop.fault.faults.ground import Fault, Ground

_FOLDER = "faults"
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_TIMEOUT = 45.0
_POLL = 0.1
_LOOK = 0.5


@dataclass(frozen=True, slots=True)
class Lasting:
    """The duration of a fault: until a signal, the end of the shop, or the end of its time, the first of them."""

    _ground: Ground
    _stopped: threading.Event
    _signals: list[int]

    def interrupted(self) -> bool:
        """Whether Ctrl-C ends it, which reaches a command that runs beside the fault, too."""
        return signal.SIGINT in self._signals

    def over(self) -> bool:
        """Whether it has to end now."""
        return self._stopped.is_set() or not self._ground.supervised()

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or when it is over."""
        deadline = time.monotonic() + seconds
        while not self._stopped.wait(min(_LOOK, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline or self.over():
                return


@contextmanager
def lasting(ground: Ground, fault: Fault) -> Iterator[Lasting]:
    """Let a fault be seen and stopped by others; yields an object that knows when it is over."""
    stopped = threading.Event()

    signals: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        signals.append(number)
        stopped.set()

    folder = ground.data_dir / _FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{os.getpid()}.json"
    draft = path.with_suffix(".draft")
    before = {number: signal.signal(number, stop) for number in _STOPPING}
    with draft.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"pid": os.getpid(), "words": fault.words}, file)
        file.flush()
        draft.replace(path)  # others see it locked and whole, or not at all
        try:
            yield Lasting(ground, stopped, signals)
        finally:
            path.unlink(missing_ok=True)
            for number, handler in before.items():
                signal.signal(number, handler)


def alone(data_dir: Path, *things: str) -> Callable[[], None]:
    """Be the only fault on these things, of which each can be broken in one way only, until what is returned is called.

    Of two at once the first to end would undo both. Raises `Refused`, naming what another fault has.
    """
    folder = data_dir / _FOLDER
    folder.mkdir(exist_ok=True)
    with ExitStack() as held:
        for thing in things:
            file = held.enter_context((folder / f"{thing}.lock").open("w"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    f"{thing} is broken already by another `shop fault`: wait for its end, or `shop fault stop` ends it"
                ) from None
        return held.pop_all().close


def at_work(data_dir: Path) -> list[str]:
    """The words of the faults at work."""
    return [words for _, words in _alive(data_dir)]


def stop_all(data_dir: Path) -> tuple[list[str], list[str]]:
    """End all of them, and wait for that: those that have undone what they did, and those that have not."""
    working = _alive(data_dir)
    for pid, _ in working:
        with suppress(ProcessLookupError, PermissionError):  # another user's has not ended, then
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT
    left = working
    while left and time.monotonic() < deadline:
        time.sleep(_POLL)
        left = [each for each in _alive(data_dir) if each in working]
    return [words for pid, words in working if (pid, words) not in left], [words for _, words in left]


def _alive(data_dir: Path) -> list[tuple[int, str]]:
    """Pid and words of each; a file without a holder was left by a killed process, and is deleted."""
    found: list[tuple[int, str]] = []
    for path in sorted((data_dir / _FOLDER).glob("*.json")):
        with suppress(FileNotFoundError), path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                content = json.loads(file.read() or "{}")
                if content:
                    found.append((int(content["pid"]), str(content["words"])))
            else:
                path.unlink(missing_ok=True)
    return found

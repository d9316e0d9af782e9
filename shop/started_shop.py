"""Processes that a command has started for itself: whether a whole shop is ready, and their end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from shop.supervisor import state
from shop.supervisor.state import State

Process = TypeVar("Process", bound=subprocess.Popen[Any])
_Handler = Callable[[int, FrameType | None], Any]

# How many processes are just being started, and the signal that has arrived meanwhile: see `running`.
_starting = 0
_arrived: list[int] = []


def all_ready(folder: Path) -> bool:
    """Whether every process of the shop in this data directory is ready."""
    found = state.read(folder)
    return bool(found) and all(process.state is State.READY for process in found)


def stop(process: subprocess.Popen[bytes], *, within: float) -> None:
    """End it; kill it when it has not ended after so many seconds."""
    process.terminate()
    try:
        process.wait(within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def running(start: Callable[[], Process], end: Callable[[Process], object]) -> Iterator[Process]:
    """A process from its start until the end of the block, however that is left.

    A signal that would unwind this program while the process is being started, Ctrl-C included, does so as soon as the
    process can be ended.
    """
    global _starting  # noqa: PLW0603 # signals are the whole program's
    interrupted: _Handler | None = None
    _starting += 1
    try:
        interrupted = _hold_interrupts()
        process = start()
    except BaseException:
        _started(interrupted)
        raise
    try:
        _started(interrupted)
        yield process
    finally:
        end(process)


def _hold_interrupts() -> _Handler | None:
    """Hold Ctrl-C back until `_started`, and return its handler; None where it is ignored, and in other threads."""
    handler = signal.getsignal(signal.SIGINT)
    # Only a function can unwind; and a signal's handler runs in the main thread alone.
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        return None
    signal.signal(signal.SIGINT, lambda number, _frame: _hold(number))
    return handler


def _hold(number: int) -> None:
    _arrived[:] = [number]


def _started(interrupted: _Handler | None) -> None:
    global _starting  # noqa: PLW0603
    _starting -= 1
    if interrupted is not None:
        signal.signal(signal.SIGINT, interrupted)
    if not _starting and _arrived:
        signal.raise_signal(_arrived.pop())


@contextmanager
def unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind this program as Ctrl-C does, so that what it has started ends with it.

    Signals are the main thread's; in another one this does nothing.
    """

    def unwind(number: int, _frame: FrameType | None) -> None:
        if _starting:
            _hold(number)
            return
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # a second one must not interrupt the end
        sys.exit(128 + number)

    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN  # as under nohup
    }
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in before:
        signal.signal(number, unwind)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

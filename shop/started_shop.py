"""Processes that a command has started for itself: whether a whole shop is ready, and their end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from shop.supervisor import state
from shop.supervisor.state import State


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
def unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind this program as Ctrl-C does, so that what it has started ends with it.

    Signals are the main thread's; in another one this does nothing.
    """

    def unwind(number: int, _frame: FrameType | None) -> None:
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

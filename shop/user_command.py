"""A command line of the user's own, run as the user's own shell would run it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from shop.started_shop import running

# Seconds between two looks at whether it is over, and until a command that does not end by itself is killed.
_LOOK, _END_TIMEOUT = 0.2, 10.0
_POLL = 0.05


def run_shell(
    command: str,
    *,
    env: Mapping[str, str] | None = None,
    over: Callable[[], bool] = lambda: False,
    interrupted: Callable[[], bool] = lambda: False,
) -> int:
    """Run it, and return its exit code; where a signal has ended it, 128 and the signal's number.

    Once `over` is true, and where this program is unwound, the command is ended with the processes below it; where
    Ctrl-C has reached it, too (`interrupted`), it first has time to end by itself.
    """

    def end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None and interrupted():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT)
        if process.poll() is None:
            _end(process)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, shell=True, env=env)  # noqa: S602  # nosec B602 # the user's own

    with running(start, end) as process:
        while process.poll() is None and not over():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    # One by one: they share our process group, so that Ctrl-C and the terminal's input are theirs, too.
    below = {pid: started for pid in _below(process.pid) if (started := _started(pid))}
    _send(signal.SIGTERM, [process.pid, *below])
    deadline = time.monotonic() + _END_TIMEOUT
    while (process.poll() is None or _left(below)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    _send(signal.SIGKILL, _left(below))
    if process.poll() is None:
        process.kill()
        process.wait()


def _left(processes: Mapping[int, str]) -> list[int]:
    """The processes that still run, by the time of their start: a pid may be another's by now."""
    return [pid for pid, started in processes.items() if _started(pid) == started]


def _started(pid: int) -> str:
    """The start of a process, in the kernel's ticks; empty where it has ended, waited for or not."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if facts[0] in "ZX" else facts[19]


def _send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):  # it has ended, or is another user's by sudo
            os.kill(pid, number)


def _below(pid: int) -> Iterator[int]:
    """The processes that one has started, and those that they have; none where the kernel lists none (macOS)."""
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _below(int(child))

"""A command line of the user's own, run as the user's own shell would run it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

# Seconds between two looks at whether it is over, and until a command that does not end by itself is killed.
_LOOK, _END_TIMEOUT = 0.2, 10.0


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
    process = subprocess.Popen(command, shell=True, env=env)  # noqa: S602  # nosec B602 # the user's own
    try:
        while process.poll() is None and not over():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK)
    finally:
        if process.poll() is None and interrupted():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_TIMEOUT)
        if process.poll() is None:
            _end(process)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    # One by one: they share our process group, so that Ctrl-C and the terminal's input are theirs, too.
    processes = [process.pid, *_below(process.pid)]
    _send(signal.SIGTERM, processes)
    try:
        process.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        _send(signal.SIGKILL, processes)
        process.wait()


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

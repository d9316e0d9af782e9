"""The shop of a lesson: started in the background with the student's code, and stopped again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from shop.lessons.workspace import Workspace
from shop.supervisor import lock, state
from shop.supervisor.state import State

READY_WITHIN = 40.0
_STOPPED_WITHIN = 20.0
_PAUSE = 0.05
# A process that has ended this often before it was ever ready will not become ready.
_MAX_FAILED_STARTS = 3


class DoesNotStart(Exception):
    """The student's code keeps the shop from starting; the text is the reason in one line."""


def restart(workspace: Workspace) -> None:
    """Run the code as it is now. Raises `DoesNotStart`."""
    stop(workspace)
    start(workspace)


def start(workspace: Workspace) -> None:
    """Start the lesson's processes and wait until they are ready. Raises `DoesNotStart`."""
    _compile(workspace)
    command = [sys.executable, "-m", "shop", "up", "--only", ",".join(workspace.lesson.processes)]
    (workspace.data_dir / "processes.json").unlink(missing_ok=True)
    with workspace.log.open("w") as log:
        supervisor = subprocess.Popen(  # noqa: S603  # nosec B603 # the arguments are ours
            command,
            cwd=workspace.tree,
            env=workspace.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_WITHIN
    while not _ready(workspace):
        if supervisor.poll() is not None or _hopeless(workspace) or time.monotonic() > deadline:
            stop(workspace)
            _wait(lambda: supervisor.poll() is not None)
            raise DoesNotStart(_reason(workspace))
        time.sleep(_PAUSE)
    progress = workspace.progress()
    progress.running = workspace.fingerprint()
    workspace.save(progress)


def stop(workspace: Workspace) -> bool:
    """End the lesson's processes; whether there were any."""
    pid = supervisor_pid(workspace)
    if pid is None:
        return False
    _send(signal.SIGTERM, pid)
    if not _wait(lambda: supervisor_pid(workspace) is None):
        _send(signal.SIGKILL, pid)  # the others end with it
        _wait(lambda: supervisor_pid(workspace) is None)
    return True


def _send(number: signal.Signals, pid: int) -> None:
    # It was killed, and its processes, which hold the lock, too, are still ending.
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def runs(workspace: Workspace) -> bool:
    """Whether the lesson's shop is up, with the code as it is now."""
    current = supervisor_pid(workspace) is not None and _ready(workspace)
    return current and workspace.progress().running == workspace.fingerprint()


def supervisor_pid(workspace: Workspace) -> int | None:
    """The supervisor's process number; None where no shop runs, which the lock alone shows.

    Another program, and another user's, may have been given the number since.
    """
    return lock.holder(workspace.data_dir) or None


def _compile(workspace: Workspace) -> None:
    """Find a syntax error before anything is started."""
    for name in workspace.changed_files():
        path = workspace.tree / name
        if path.suffix == ".py" and path.exists():
            try:
                compile(path.read_bytes(), name, "exec", dont_inherit=True)
            except SyntaxError as error:
                raise DoesNotStart(f"{name}, line {error.lineno}: {error.msg}") from error


def _ready(workspace: Workspace) -> bool:
    found = state.read(workspace.data_dir)
    return bool(found) and all(process.state is State.READY for process in found)


def _hopeless(workspace: Workspace) -> bool:
    found = state.read(workspace.data_dir)
    return any(process.restarts >= _MAX_FAILED_STARTS and process.state is not State.READY for process in found)


def _reason(workspace: Workspace) -> str:
    """The last error in the log, with its place in the student's code."""
    text = workspace.log.read_text(errors="replace")
    errors = [line for line in text.splitlines() if line.startswith("shop: ") or _names_an_error(line)]
    tree = f"{workspace.tree}/"
    found = re.findall(r'File "([^"]+)", line (\d+)', text)
    places = [(file.removeprefix(tree), line) for file, line in found if file.startswith(tree)]
    reason = errors[-1].removeprefix("shop: ") if errors else f"not ready within {READY_WITHIN:.0f} s"
    place = f"{places[-1][0]}, line {places[-1][1]}: " if places and errors else ""
    return f"{place}{reason} (all of it: {workspace.log})"


def _names_an_error(line: str) -> bool:
    """Whether a line is the last one of a traceback, such as "package.SomeError: why"."""
    name = line.split(":", 1)[0].split(" ", 1)[0]
    return name.endswith(("Error", "Exception", "Refused")) and name.replace(".", "").isidentifier()


def _wait(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _STOPPED_WITHIN
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True

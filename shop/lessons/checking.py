"""A lesson's check: its script is run against the lesson's shop, and its verdict is read."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from enum import IntEnum

from shop.errors import Refused
from shop.lessons import shop_process
from shop.lessons.git import TimedOut, run
from shop.lessons.lesson import LESSONS
from shop.lessons.workspace import Workspace
from shop.process_table import TABLE
from shop.supervisor.environment import survey

# The script ends itself well before.
_TIMEOUT = 120.0


class Verdict(IntEnum):
    """The exit code of a check."""

    KEPT = 0
    BROKEN = 1
    VOID = 2


@dataclass(frozen=True, slots=True)
class Result:
    """`message` is one sentence; `details` may be empty."""

    verdict: Verdict
    message: str
    details: str = ""


def check(workspace: Workspace, *, fault: bool = True) -> Result:
    """Judge the code as it is now, in a shop that runs it.

    Without its `fault` a check has nothing to judge, and must say so. Raises `Refused` when the script itself fails,
    and when it or a program before it does not end in time.
    """
    try:
        workspace.generate()
        if not shop_process.runs(workspace):
            shop_process.restart(workspace)
    except TimedOut:
        raise
    except (shop_process.DoesNotStart, Refused) as error:
        return Result(Verdict.BROKEN, f"The shop does not start with your change: {error}")
    done = run(
        [sys.executable, str(workspace.lesson.check)],
        f"the check of lesson {workspace.lesson.number}",
        _TIMEOUT,
        folder=workspace.tree,
        env={**_environment(workspace), "LESSON_FAULT": "on" if fault else "off"},
    )
    word, _, rest = done.stdout.partition(": ")
    message, _, details = rest.partition("\n")
    if word not in Verdict.__members__ or done.returncode != Verdict[word]:
        raise Refused(f"the check of lesson {workspace.lesson.number} failed itself:\n{done.stdout}{done.stderr}")
    return Result(Verdict[word], message.strip(), details.strip())


def see(workspace: Workspace) -> int:
    """Run what shows the lesson's fault; its exit code. Raises `Refused` when it does not end in time."""
    command = [sys.executable, str(workspace.lesson.folder / "see.py")]
    try:
        return subprocess.run(  # noqa: S603  # nosec B603 # the arguments are ours
            command, cwd=workspace.tree, env=_environment(workspace), timeout=_TIMEOUT, check=False
        ).returncode
    except subprocess.TimeoutExpired as expired:
        raise TimedOut(f"`shop lesson see` has not ended within {_TIMEOUT:.0f} s") from expired


def _environment(workspace: Workspace) -> dict[str, str]:
    """The shop's addresses, and the secrets of those partners that a check stands in for."""
    around = survey(TABLE, workspace.environment())
    folders = [str(LESSONS.parent), os.environ.get("PYTHONPATH", "")]
    return {**around.shared, **around.secrets, "PYTHONPATH": os.pathsep.join(filter(None, folders))}

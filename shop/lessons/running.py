"""The ways through a lesson: start it, begin it anew, wait for changes."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from shop.errors import Refused
from shop.lessons import shop_process
from shop.lessons.workspace import Workspace, current, home, last_started, note_started
from shop.process_table import TABLE
from shop.supervisor import lock, state
from shop.supervisor.environment import survey
from shop.urls import data_dir

_PAUSE = 0.5


def start(workspace: Workspace, env: Mapping[str, str]) -> list[str]:
    """Make the workspace unless it is there, and have its shop run the code as it is; returns what to print."""
    lines = [_stop_other(workspace, env)]
    if not workspace.exists:
        workspace.create()
    return [*filter(None, lines), *_run(workspace, env)]


def reset(workspace: Workspace, env: Mapping[str, str], *, patch: Path | None = None) -> list[str]:
    """The same from a fresh workspace; the student's work becomes a branch. `patch` is applied to the broken code."""
    lines = [_stop_other(workspace, env)]
    if workspace.exists:
        shop_process.stop(workspace)
        branch = workspace.keep()
        lines.append(f"your work is kept as the branch {branch}" if branch else "")
        workspace.remove()
    workspace.create()
    if patch:
        workspace.apply(patch)
        lines.append(f"applied {patch.parent.name}/{patch.name}")
    return [*filter(None, lines), *_run(workspace, env)]


def changes(workspace: Workspace) -> Iterator[str]:
    """The code's fingerprint now, and at each change from then on."""
    seen = ""
    while True:
        found = workspace.fingerprint()
        if found != seen:
            seen = found
            yield found
        time.sleep(_PAUSE)


def _stop_other(workspace: Workspace, env: Mapping[str, str]) -> str:
    """One lesson's shop at a time is enough for a laptop."""
    last = last_started(env)
    if last in (None, workspace.lesson.number):
        return ""
    other = Workspace(workspace.lesson, home(env) / str(last))
    return f"stopped the shop of lesson {other.tree.name}" if shop_process.stop(other) else ""


def _run(workspace: Workspace, env: Mapping[str, str]) -> list[str]:
    note_started(workspace.lesson.number, env)
    workspace.generate()
    began = time.monotonic()
    if not shop_process.runs(workspace):
        try:
            shop_process.restart(workspace)
        except shop_process.DoesNotStart as error:
            return [f"The shop does not start: {error}"]
    seconds = time.monotonic() - began
    shared = survey(TABLE, workspace.environment()).shared
    names = {process.name for process in state.read(workspace.data_dir)}
    urls = {name: f"SHOP_{name.upper()}_URL" for name in ("gateway", "webhooks", "notifier", "console")}
    return [
        f"the shop of lesson {workspace.lesson.number} is up ({len(names)} processes, {seconds:.1f} s):",
        *(f"  {name:<9} {shared[setting]}" for name, setting in urls.items() if name in names),
        *([f"This lesson beside its X-ray: {shared[urls['console']]}/#lessons"] if "console" in names else []),
        f"Your copy of the code: cd {_short(workspace.tree)}",
        f"There, `{_program()} …` and `{_program()} lesson check` mean this shop.",
    ]


def elsewhere(env: Mapping[str, str]) -> str:
    """Advice where a command found no shop because the one that runs is a lesson's; else empty."""
    try:
        workspace = current(None, env)
    except Refused:
        return ""
    own = data_dir(env)
    here = own.resolve() == workspace.data_dir.resolve()
    if here or lock.is_held(own) or shop_process.supervisor_pid(workspace) is None:
        return ""
    return f"the shop of lesson {workspace.tree.name} runs: for that one, cd {_short(workspace.tree)} first"


def _program() -> str:
    """The command that starts `shop` in any folder."""
    return "shop" if shutil.which("shop") else str(Path(sys.executable).with_name("shop"))


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

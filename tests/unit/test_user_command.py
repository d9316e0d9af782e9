"""A command of the user's own that runs beside a fault or a process."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from shop import user_command
from shop.user_command import run_shell
from tests.waiting import eventually


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="not run: the kernel lists no processes (no /proc)")
async def test_what_the_command_has_started_is_killed_where_it_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell ends by SIGTERM, a process below it ignores that: it does not outlive the command."""
    monkeypatch.setattr(user_command, "_END_TIMEOUT", 1.0)
    began = tmp_path / "began"
    stubborn = f"trap '' TERM; echo $$ > {began}.draft; mv {began}.draft {began}; while :; do sleep 0.1; done"
    run_shell(f"sh -c {shlex.quote(stubborn)} & wait", over=began.exists)
    pid = int(began.read_text())

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
        except FileNotFoundError:
            return True

    try:
        await eventually(gone, within=60)
    finally:
        if not gone():
            os.kill(pid, 9)

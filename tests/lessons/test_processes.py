"""The processes of a lesson: which are there is shown by locks, not by numbers that others may have been given."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Never

import pytest

from shop.lessons import report, shop_process
from shop.lessons.lesson import lesson
from shop.lessons.workspace import Workspace
from shop.supervisor import lock


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace on a machine where each process is another user's."""

    def another_users(_pid: int, _number: int) -> Never:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", another_users)
    found = Workspace(lesson(1), tmp_path / "1")
    found.data_dir.mkdir(parents=True)
    return found


def test_a_supervisor_that_has_ended_does_not_run_whatever_has_its_number(workspace: Workspace) -> None:
    """The file with its number is still there, and nothing holds it."""
    os.close(lock.hold(workspace.data_dir))
    assert (workspace.data_dir / "up.lock").read_text().strip() == str(os.getpid())
    assert shop_process.supervisor_pid(workspace) is None
    assert not shop_process.stop(workspace)


def test_a_supervisor_runs_while_its_lock_is_held(workspace: Workspace) -> None:
    """No process is asked for it."""
    held = lock.hold(workspace.data_dir)
    assert shop_process.supervisor_pid(workspace) == os.getpid()
    os.close(held)


def test_a_check_whose_number_is_another_users_is_not_being_made(workspace: Workspace) -> None:
    """It has ended without saying so, and its number was given to another program."""
    progress = workspace.progress()
    progress.checking = 4711
    workspace.save(progress)
    assert report._as_json(workspace)["checking"] is False

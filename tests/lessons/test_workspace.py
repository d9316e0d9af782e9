"""A lesson's workspace and its repository: what a look leaves alone, and programs that do not end."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from shop.errors import Refused
from shop.lessons import checking, commands, shop_process
from shop.lessons.checking import Verdict
from shop.lessons.git import ensure_repository, git
from shop.lessons.lesson import lesson
from shop.lessons.workspace import Progress, Workspace, current, last_started, note_started

ENDLESS = "import time\n\ntime.sleep(300)\n"
TIME = 1_000_000_000  # seconds since the epoch: long ago


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A small repository in place of a lesson's copy, whose check and whose `see` do not end."""
    made = Workspace(replace(lesson(1), folder=tmp_path), tmp_path / "1")
    for script in ("check.py", "see.py"):
        (tmp_path / script).write_text(ENDLESS)
    made.tree.mkdir()
    (made.tree / "old.py").write_text("old = 1\n")
    git(made.tree, "init", "--quiet")
    git(made.tree, "add", "--all")
    git(made.tree, "commit", "--quiet", "--message", "as delivered")
    made.save(Progress(base=git(made.tree, "rev-parse", "HEAD").strip()))
    return made


def test_a_look_leaves_the_students_index_alone(workspace: Workspace) -> None:
    """New files are among the changes, and what is staged is what the student has staged, unchanged in its place."""
    (workspace.tree / "old.py").write_text("old = 2\n")
    (workspace.tree / "new.py").write_text("new = 1\n")
    index = (workspace.tree / ".git" / "index").read_bytes()
    assert workspace.changed_files() == ["new.py", "old.py"]
    assert "new = 1" in workspace.diff()
    assert workspace.fingerprint() == workspace.fingerprint()
    assert (workspace.tree / ".git" / "index").read_bytes() == index
    assert git(workspace.tree, "status", "--porcelain").splitlines() == [" M old.py", "?? new.py"]


def test_a_change_within_the_second_of_the_index_is_seen(workspace: Workspace) -> None:
    """Of the same length, too: only its content differs then, and git looks at that by the index's own time."""
    file, index = workspace.tree / "old.py", workspace.tree / ".git" / "index"
    git(workspace.tree, "config", "core.trustCtime", "false")  # a test can set the other times alone
    os.utime(file, (TIME, TIME))
    git(workspace.tree, "add", "--all")
    file.write_text("old = 2\n")
    for each in (file, index):
        os.utime(each, (TIME, TIME))
    assert workspace.changed_files() == ["old.py"]


@pytest.fixture
def impatient(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace of a lesson whose shop runs, where nothing may take longer than a second."""
    monkeypatch.setattr(checking, "_TIMEOUT", 1.0)
    monkeypatch.setattr(checking, "_environment", lambda _: {})
    monkeypatch.setattr(shop_process, "runs", lambda _: True)
    monkeypatch.setattr(Workspace, "generate", lambda _: None)
    return workspace


def test_a_check_that_does_not_end_is_refused(impatient: Workspace) -> None:
    """So is what shows the fault: the seconds are named, and there is no traceback."""
    with pytest.raises(Refused, match="the check of lesson 1 has not ended within 1 s"):
        checking.check(impatient)
    with pytest.raises(Refused, match="`shop lesson see` has not ended within 1 s"):
        checking.see(impatient)


def test_a_generation_that_does_not_end_judges_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused, and not taken for a change with which the shop does not start."""
    monkeypatch.setattr("shop.lessons.workspace._TIMEOUT", 0.001)
    with pytest.raises(Refused, match="has not ended within 0 s"):
        checking.check(workspace)


def test_a_git_that_does_not_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a lock of its own, or on a disk that has gone away."""
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexec sleep 300\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("shop.lessons.git._TIMEOUT", 1.0)
    with pytest.raises(Refused, match="git status has not ended within 1 s"):
        git(tmp_path, "status")


def test_a_check_that_is_interrupted_takes_nothing_back(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lesson that was kept is kept still, after Ctrl-C as after a check that fails itself."""
    before = replace(workspace.progress(), kept=True, checks=2, verdict=Verdict.KEPT.name, said="all well")
    workspace.save(before)

    def interrupted(_: Workspace) -> None:
        assert workspace.progress().checking
        raise KeyboardInterrupt

    def failed(_: Workspace) -> None:
        raise Refused("the check failed itself")

    monkeypatch.setattr(checking, "check", interrupted)
    with pytest.raises(KeyboardInterrupt):
        commands._checked(workspace)
    assert workspace.progress() == before
    monkeypatch.setattr(checking, "check", failed)
    with pytest.raises(Refused):
        commands._checked(workspace)
    assert workspace.progress() == replace(before, verdict="", said="the check failed itself")


def test_a_repository_without_a_commit_gets_its_first(tmp_path: Path) -> None:
    """One that was interrupted before is as none; of one that has a commit nothing is changed."""
    (tmp_path / "file").write_text("")
    git(tmp_path, "init", "--quiet")
    assert not ensure_repository(tmp_path)
    first = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "file").write_text("changed")
    assert ensure_repository(tmp_path)
    assert git(tmp_path, "rev-parse", "HEAD") == first


def test_a_note_of_the_last_lesson_that_is_empty_is_none(tmp_path: Path) -> None:
    """A program that was killed, or a full disk, may have left such a one: then no lesson was started last."""
    env = {"SHOP_DATA_DIR": str(tmp_path)}
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / "current").write_text("")
    assert last_started(env) is None
    with pytest.raises(Refused, match="no lesson has been started"):
        current(None, env)
    note_started(2, env)
    assert last_started(env) == 2

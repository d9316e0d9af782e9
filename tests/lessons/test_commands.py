"""`shop lesson`, as a student uses it: in a clone, from the first start to the last."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from shop.errors import Refused
from shop.lessons.git import git
from shop.lessons.lesson import ROOT, lesson
from shop.lessons.workspace import Workspace, current
from tests.lessons.test_patches import clone

pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not run: needs the git checkout"),
]

Student = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return clone(tmp_path)


@pytest.fixture
def student(tree: Path) -> Iterator[Student]:
    """Runs `shop lesson …` in the clone, and whatever is up at the end is stopped."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    env["LESSON_SECONDS"] = "60"

    def run(*arguments: str, cwd: Path = tree) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "shop", "lesson", *arguments]
        return subprocess.run(
            command, cwd=cwd, env=env, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )

    yield run
    run("stop")


def test_a_way_through_a_lesson(student: Student, tree: Path) -> None:
    """Start, see, check, hint, mend, check: the verdicts are exit codes, and the explanation comes after the repair."""
    wanted, copy = lesson(1), tree / ".shop" / "lessons" / "1"
    started = student("start", "1", "--guess", "a")
    assert started.returncode == 0, started.stderr
    assert wanted.sections["Predict"] in started.stdout
    assert wanted.sections["Why"] not in started.stdout
    seen = student("see", cwd=copy)
    assert "5 x GET /v1/products" in seen.stdout, seen.stdout + seen.stderr
    trace = [sys.executable, "-m", "shop", "trace", "1"]
    astray = subprocess.run(trace, cwd=tree, check=False, capture_output=True, text=True)
    assert "(the shop of lesson 1 runs: for that one, cd .shop/lessons/1 first)" in astray.stderr
    broken = student("check", cwd=copy)
    assert broken.returncode == 1, broken.stdout + broken.stderr
    assert broken.stdout.startswith("BROKEN: One query over 5 products")
    assert [student("hint").stdout for _ in wanted.hints][
        -1
    ] == f"hint {len(wanted.hints)} of {len(wanted.hints)}: {wanted.hints[-1]}\n"
    assert student("diff").stdout == "nothing is changed yet\n"
    git(copy, "apply", str(wanted.solution_patch))
    assert "BATCH_SIZE" in student("diff").stdout
    kept = student("check")
    assert kept.returncode == 0, kept.stdout + kept.stderr
    assert kept.stdout.startswith("KEPT: ")
    assert "You predicted a: the answer is b." in kept.stdout
    assert wanted.sections["Why"] in kept.stdout
    assert re.search(r"^ +1 .* kept$", student("list").stdout, re.MULTILINE)


def test_work_is_kept(student: Student, tree: Path) -> None:
    """A reset and the solution begin from the broken code; what the student did is a branch, and says what it was."""
    copy = tree / ".shop" / "lessons" / "1"
    assert student("start", "1").returncode == 0
    source = copy / "graphql_server" / "loaders.py"
    source.write_text(f"{source.read_text()}\n# my idea\n")
    assert "lesson/1/try-1" in student("reset").stdout
    assert "my idea" not in source.read_text()
    assert "# my idea" in git(tree, "show", "lesson/1/try-1:graphql_server/loaders.py")
    source.write_text("def broken(:\n")
    refused = student("check")
    assert refused.returncode == 1
    assert refused.stdout.startswith(
        "BROKEN: The shop does not start with your change: graphql_server/loaders.py, line 1: invalid syntax"
    )
    solved = student("solution", "--start")
    assert solved.returncode == 0, solved.stdout + solved.stderr
    assert "lesson/1/try-2" in solved.stdout
    assert student("check").returncode == 0
    assert "lesson/1/try-3" in student("stop", "--remove").stdout
    assert not copy.exists()
    assert student("check").returncode == 2


def test_what_cannot_be_done_is_refused(student: Student) -> None:
    """No such lesson, and none started: one line that says what to do, and exit code 2."""
    unknown = student("start", "99")
    assert (unknown.returncode, unknown.stderr[:25]) == (2, "shop: there is no lesson ")
    none = student("check")
    assert none.returncode == 2
    assert "shop lesson start 1" in none.stderr


@pytest.fixture
def copy(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace of lesson 1 in the clone, before its first start."""
    monkeypatch.setattr("shop.lessons.workspace.ROOT", tree)
    return Workspace(lesson(1), tree / ".shop" / "lessons" / "1")


@pytest.mark.parametrize("failure", [KeyboardInterrupt, Refused])
def test_a_start_that_was_interrupted_leaves_nothing(
    copy: Workspace, failure: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither Ctrl-C nor what git refuses leaves half a copy, and the next start makes a whole one."""

    def fail(*_: object) -> NoReturn:
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr("shop.lessons.workspace._free_ports", fail)
        with pytest.raises(failure):
            copy.create()
    assert (copy.exists, copy.tree.exists()) == (False, False)
    copy.create()
    assert (copy.exists, copy.diff()) == (True, "")


@pytest.mark.parametrize("left", ["all", "no files"])
def test_a_start_that_was_killed_is_begun_anew(copy: Workspace, tree: Path, left: str) -> None:
    """A worktree without a base, which git may still have locked, is no start of a lesson, and is made anew."""
    git(tree, "worktree", "add", "--quiet", "--detach", "--lock", str(copy.tree), "HEAD")
    if left == "no files":
        shutil.rmtree(copy.tree)
    assert not copy.exists
    with pytest.raises(Refused, match="has not been started"):
        current(1, {"SHOP_DATA_DIR": str(tree / ".shop")})
    copy.create()
    assert (copy.exists, copy.diff()) == (True, "")

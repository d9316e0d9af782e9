"""The lessons' patches: they fit the code of now, are small, and break what a type checker does not see."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shop.lessons.git import git
from shop.lessons.lesson import LESSONS, ROOT, Lesson, lessons
from shop.process_table import TABLE

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not run: needs the git checkout")
MAX_LINES, MAX_FILES = 10, 2


def clone(folder: Path) -> Path:
    """The files as they are now, committed or not, as a repository of their own."""
    tree = folder / "shop"
    git(ROOT, "clone", "--quiet", "--shared", str(ROOT), str(tree))
    if changed := git(ROOT, "diff", "HEAD", "--binary"):
        (folder / "now.patch").write_text(changed)
        git(tree, "apply", str(folder / "now.patch"))
        git(tree, "commit", "--quiet", "--all", "--message", "as it is now")
    return tree


def run(tree: Path, *command: str) -> str:
    """What a development tool prints; empty when it is content."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=tree, check=False, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.folder.name)
def test_patches_fit_and_are_small(lesson: Lesson, tmp_path: Path) -> None:
    """The break fits the code and is small; the solution and each wrong fix fit the broken code."""
    tree = clone(tmp_path)
    git(tree, "apply", str(lesson.break_patch))
    added, removed = re.findall(r"(\d+) \w+\([+-]\)", git(tree, "diff", "--shortstat") + " 0 none(+) 0 none(-)")[:2]
    assert int(added) + int(removed) <= MAX_LINES
    assert len(git(tree, "diff", "--name-only").split()) <= MAX_FILES
    for patch in [lesson.solution_patch, *(wrong.patch for wrong in lesson.wrong_fixes)]:
        git(tree, "apply", "--check", str(patch))
    git(tree, "apply", str(lesson.solution_patch))
    assert set(git(tree, "diff", "--name-only").split()) <= set(lesson.files)


@pytest.mark.long
def test_broken_code_passes_the_tools(tmp_path: Path) -> None:
    """With every break at once, in every file that one touches, ruff and mypy are content: a break is one of meaning.

    So are the scripts of the lessons, which mypy cannot distinguish by their names.
    """
    tree = clone(tmp_path)
    touched: set[str] = set()
    for lesson in lessons():
        git(tree, "apply", str(lesson.break_patch))
        touched |= set(git(tree, "diff", "--name-only").split())
        for script in ("check", "see"):
            if (path := lesson.folder / f"{script}.py").exists():
                shutil.copy(path, tree / f"lesson_{lesson.number}_{script}.py")
    scripts = sorted(path.name for path in tree.glob("lesson_*.py"))
    python = sorted(name for name in touched if name.endswith(".py"))
    assert run(tree, "ruff", "check", "--no-cache", *python) == ""
    assert run(tree, "ruff", "format", "--no-cache", "--check", *python) == ""
    subprocess.run([sys.executable, "-m", "protos"], cwd=tree, check=True)
    assert run(tree, "mypy", "--cache-dir", str(cache(tmp_path)), *python, *scripts) == ""


def cache(folder: Path) -> Path:
    """A copy of the type checker's cache, where there is one: without it this takes a minute."""
    kept, copy = ROOT / ".mypy_cache", folder / "mypy_cache"
    if kept.exists():
        shutil.copytree(kept, copy)
    return copy


@pytest.mark.parametrize("lesson", lessons(), ids=lambda lesson: lesson.folder.name)
def test_a_lesson_is_whole(lesson: Lesson) -> None:
    """It has every part of a page, at least three hints and three wrong fixes, and names processes that there are."""
    assert {"", "Predict", "Break", "See", "Fix", "Why", "In the wild", "Hints"} == set(lesson.sections)
    assert lesson.answer in "abc"
    assert all(f"- {letter}) " in lesson.sections["Predict"] for letter in "abc")
    assert len(lesson.hints) >= 3
    assert len({wrong.expect for wrong in lesson.wrong_fixes}) >= 3
    assert set(lesson.processes) <= {spec.name for spec in TABLE}
    assert re.search(r"[\w.-]+/[\w.-]+ #\d+", lesson.sections["In the wild"])
    assert lesson.folder.name.startswith(f"{lesson.number:02}-")
    assert lesson.sections[""].startswith(f"# {lesson.number}. {lesson.title}\n")


def test_checks_know_the_shop_from_outside() -> None:
    """No script of a lesson imports the shop's code."""
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"lessons"}
    for script in [LESSONS / "kit.py", *LESSONS.glob("*/*.py")]:
        imported = re.findall(r"^\s*(?:from|import) (\w+)", script.read_text(), re.MULTILINE)
        assert not ours & set(imported), script

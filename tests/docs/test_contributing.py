"""What CONTRIBUTING.md says is so: each of its lists is done in a copy of the repository, with its commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.recipes import Recipe
from tests.docs.recipes.event import EVENT, QUEUE
from tests.docs.recipes.route import ROUTE
from tests.docs.recipes.service import SERVICE

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
BIN = Path(sys.executable).parent
RECIPES = [ROUTE, EVENT, QUEUE, SERVICE]
# No command may hang; how long one takes is the machine's matter.
_SECONDS = 300

pytestmark = [
    pytest.mark.long,
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not run: needs the git checkout to copy its files"),
]


@dataclass(frozen=True)
class Section:
    """A section of the guide: the files of its list, the commands that write some of them, and the checks."""

    files: frozenset[str]
    written_by: str
    checks: str


def section(recipe: Recipe) -> Section:
    """What the guide says, with the example's names in place of `<name>`."""
    (text,) = re.findall(rf"^## {recipe.heading}$(.*?)(?=^## )", GUIDE, re.MULTILINE | re.DOTALL)
    for name, value in recipe.names.items():
        text = text.replace(f"<{name}>", value)
    items = re.findall(r"^- ((?:`[^`]+`(?:, )?)+): ", text, re.MULTILINE)
    assert len(items) == len(re.findall(r"^- ", text, re.MULTILINE)), "each item names its files first"
    assert "<" not in "".join(items), "each <name> has a value in the example"
    written_by, checks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return Section(frozenset(path for item in items for path in re.findall(r"`([^`]+)`", item)), written_by, checks)


def git(copy: Path, *arguments: str) -> str:
    """What git says there; a copy has a repository of its own."""
    author = ("-c", "user.name=test", "-c", "user.email=test@shop.test")
    done = subprocess.run(["git", *author, *arguments], cwd=copy, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as it is committed and changed here, with the contracts' code generated."""
    copy = tmp_path_factory.mktemp("pristine") / "shop"
    for name in filter(None, git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    assert run(copy, ".venv/bin/python -m protos\n").returncode == 0
    git(copy, "init", "-q")
    git(copy, "add", "--all")
    git(copy, "commit", "-q", "-m", "the shop")
    return copy


@pytest.fixture
def copy(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "shop", symlinks=True))


def run(copy: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands of the guide in the copy, up to the first that fails: with this environment's programs, its code."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SHOP_", "PYTEST_"))}
    return subprocess.run(
        ["bash", "-ec", commands.replace(".venv/bin/", f"{BIN}/")],
        cwd=copy,
        # A check that fails once has failed.
        env={**inherited, "PYTHONPATH": str(copy), "PYTEST_ADDOPTS": "-x"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def follow(recipe: Recipe, files: frozenset[str], copy: Path) -> None:
    """Do what the example does to these files, and to no other."""
    for path in files & recipe.new.keys():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text(recipe.new[path])
    for path in files & recipe.changed.keys():
        text = (copy / path).read_text()
        for old, new in recipe.changed[path]:
            assert old in text, f"{path} has no {old!r}: the example in tests/docs/recipes has to follow it"
            text = text.replace(old, new, 1)
        (copy / path).write_text(text)


def touched(copy: Path) -> set[str]:
    """The files that differ from the commit."""
    return {line[3:] for line in git(copy, "status", "--porcelain", "--untracked-files=all").splitlines()}


def told(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout[-6_000:] + done.stderr[-3_000:]


def named(recipe: Recipe) -> str:
    """The last word of its heading."""
    return recipe.heading.split()[-1]


def test_the_other_commands_exist() -> None:
    """What a newcomer has to run before the lists is there: make targets, tests, programs."""
    commands = "".join(re.findall(r"^```sh\n(.*?)^```", GUIDE.partition("## Add a route")[0], re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"^make ([a-z-]+)$", commands, re.MULTILINE)) >= {"setup-dev", "up", "test", "check"}
    dry = re.sub(r"^make ", "make -n ", commands, flags=re.MULTILINE)
    dry = re.sub(r"^REQUIRE=\S+ ", "", dry, flags=re.MULTILINE)  # the servers need not be here
    dry = dry.replace(".venv/bin/pytest", ".venv/bin/pytest --collect-only -q")
    done = run(ROOT, dry)
    assert done.returncode == 0, told(done)


@pytest.mark.parametrize("recipe", RECIPES, ids=named)
def test_a_list_names_exactly_the_files_that_it_takes(recipe: Recipe, copy: Path) -> None:
    """With the listed files touched and its commands run, a section's checks pass, and no other file has changed."""
    guide = section(recipe)
    follow(recipe, guide.files, copy)
    done = run(copy, guide.written_by)
    assert done.returncode == 0, told(done)
    assert touched(copy) == guide.files
    done = run(copy, guide.checks)
    assert done.returncode == 0, told(done)
    assert "passed" in done.stdout


@pytest.mark.parametrize(
    ("recipe", "path"),
    [pytest.param(recipe, path, id=f"{named(recipe)}-{path}") for recipe in RECIPES for path in recipe.needed],
)
def test_a_list_without_one_of_its_files_is_not_enough(recipe: Recipe, path: str, copy: Path) -> None:
    """When one of the listed files stays as it is, the section's commands or checks fail."""
    guide = section(recipe)
    assert path in guide.files
    follow(recipe, guide.files - {path}, copy)
    if run(copy, guide.written_by).returncode == 0:
        if path not in recipe.new:
            git(copy, "checkout", "--quiet", "--", path)
        assert run(copy, guide.checks).returncode != 0

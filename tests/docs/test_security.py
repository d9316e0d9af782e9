"""docs/security.md is true: each of OWASP's ten rows names tests that exist. And `make check` hides nothing."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.security_check import unreasoned, verdict

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| API(\d+) .*\|(.*)\|$", (ROOT / "docs/security.md").read_text(), re.MULTILINE)
NAMED = [test for _, tests in ROWS for test in re.findall(r"`([^`]+)`", tests)]


def test_each_of_the_ten_risks_has_its_tests() -> None:
    """One row for each, in their order."""
    assert [int(number) for number, _ in ROWS] == list(range(1, 11))
    assert all("`tests/" in tests for _, tests in ROWS)


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    """It is a function of that file."""
    path, _, name = named.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    functions = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert name in functions


def report(*dependencies: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": list(dependencies)}


GOOD: dict[str, Any] = {"name": "httpx", "version": "1", "vulns": []}
BAD: dict[str, Any] = {"name": "yarl", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN: dict[str, Any] = {"name": "wrapt", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (report(GOOD), 0, "1 of 1 dependencies audited"),
        (report(GOOD, BAD), 1, "yarl 2: CVE-1, fixed in 3"),
        (report(GOOD, UNKNOWN), 0, "NOT AUDITED (1), unknown to the registry: wrapt"),
        (report(), 1, "0 of 0"),
        (None, 0, "NOT AUDITED: the dependencies of requirements.txt: no route to host"),
    ],
)
def test_what_was_not_audited_is_said(given: dict[str, Any] | None, code: int, said: str) -> None:
    """A registry that is silent, or that does not have a dependency, is no good news; a vulnerability fails."""
    found, told = verdict(given, "no route to host")
    assert found == code
    assert said in told


def test_every_silenced_finding_names_its_check_and_its_reason() -> None:
    """In all files of the repository."""
    assert unreasoned("a()  # nosec\nb()  # nosec B603 # ours\nc()  # nosec B603") == [1, 3]
    names = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [name for name in names.split() if not name.startswith("tests/")]
    assert files
    assert {name: lines for name in files if (lines := unreasoned((ROOT / name).read_text()))} == {}

"""`docs/copy.md` names what a pattern really needs, and `docs/costs.md` only figures that were measured."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = (ROOT / "docs/copy.md").read_text().split("\n## ")[1:]
OWN = {"chassis", "gateway", "services", "webhooks", "protos"}


def named(section: str, part: str) -> list[str]:
    """The files and folders of one line of a section ("Take", "Needs", "Test")."""
    found = re.search(rf"^- {part}: (.*?)(?=^- )", section, re.MULTILINE | re.DOTALL)
    return re.findall(r"`([\w.]+/[\w./]*)`", found[1]) if found else []


def imports(path: Path) -> Iterator[str]:
    """The files of ours that a module imports when it runs."""
    tree = ast.parse(path.read_text())
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in typing:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                module = Path(*name.split(".")).with_suffix(".py")
                if name.split(".")[0] in OWN and (ROOT / module).is_file():
                    yield module.as_posix()


def closure(files: list[str]) -> set[str]:
    """These files and all that they import, directly or not."""
    found, open_ = set[str](), list(files)
    while open_:
        each = open_.pop()
        if each not in found:
            found.add(each)
            open_ += imports(ROOT / each)
    return found


@pytest.mark.parametrize("section", SECTIONS, ids=[section.partition("\n")[0] for section in SECTIONS])
def test_a_pattern_says_what_it_needs(section: str) -> None:
    """What its files import is exactly what it says that they need, and its test is there."""
    taken, needed, tests = named(section, "Take"), named(section, "Needs"), named(section, "Test")
    assert len(tests) == 1
    assert all((ROOT / each).exists() for each in (*taken, *needed, *tests, *named(section, "Adapt")))
    assert "- Not when: " in section
    if not taken:
        assert named(section, "Adapt")
        return
    more = closure(taken) - set(taken)
    assert {each for each in more if not any(each == need or each.startswith(need) for need in needed)} == set()
    assert {need for need in needed if not any(each == need or each.startswith(need) for each in more)} == set()


def test_costs_are_measured() -> None:
    """Each row of the page of costs has a figure, and each of its ranges is in the measurements."""
    measured = (ROOT / "docs/performance.md").read_text()
    rows = [line for line in (ROOT / "docs/costs.md").read_text().splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 12
    for row in rows:
        figures = re.findall(r"[\d.,]+ (?:to|of|and) [\d.,]+", row)
        assert figures, row
        for figure in figures:
            assert figure in measured, figure


def test_the_cost_of_servers_names_what_is_in_it() -> None:
    """The shop's figure is with the servers' own; so says the measurement, and the page of costs with it."""
    (row,) = [line for line in (ROOT / "docs/costs.md").read_text().splitlines() if line.startswith("| RabbitMQ and")]
    measured = "85 ms: **missed** (14 and 8 of them RabbitMQ's and PostgreSQL's)"
    assert measured in (ROOT / "docs/performance.md").read_text()
    assert "85 ms" in row
    assert "RabbitMQ's own and PostgreSQL's are in it, 14 and 8" in row

"""Words: a program sends, requests, reports and notifies; it does not ask, tell or hear."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ("chassis", "console", "gateway", "graphql_server", "mcp_server", "partners", "services", "shop", "webhooks")
OF_PERSONS = frozenset(
    ["ask", "asks", "asked", "asking", "tell", "tells", "told", "telling", "hear", "hears", "heard", "hearing"]
)
CLAUSE = re.compile(r"(?:What|How|Where|Who|Whose|When|Why|That|Whether)\b")
FILES = sorted(path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))


def names_given(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of what a module defines: classes, functions, parameters, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def words_of(name: str) -> set[str]:
    """The words of an identifier, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def test_names_do_not_describe_programs_as_persons() -> None:
    """No class, function, parameter or variable of a process is named as if a person had a talk."""
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in FILES
        for line, name in names_given(ast.parse(path.read_text()))
        if words_of(name) & OF_PERSONS
    ]
    assert found == []


def test_a_module_begins_with_what_it_is() -> None:
    """The first line of a module's docstring names the module's subject: it is no clause."""
    first_lines = {path: ast.get_docstring(ast.parse(path.read_text())) or "" for path in FILES}
    assert [str(path.relative_to(ROOT)) for path, line in first_lines.items() if CLAUSE.match(line)] == []


@pytest.mark.parametrize("proto", sorted((ROOT / "protos").rglob("*.proto")), ids=lambda path: path.stem)
def test_messages_are_requests_and_responses(proto: Path) -> None:
    """A message of a contract is described as one: it asks, answers and tells nothing."""
    assert re.findall(r"^// (?:Asks|Answers|Tells)\b.*", proto.read_text(), re.MULTILINE) == []

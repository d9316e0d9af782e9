"""No regular expression of the shop takes more than linear time, whatever a client sends."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.internal.ambiguity import can_be_slow

ROOT = Path(__file__).parents[2]
# All but `protos` and `tools`, which read only files of our own.
PACKAGES = (
    *("chassis", "console", "gateway", "graphql_server", "legacy_soap", "lessons"),
    *("mcp_server", "partners", "services", "shop", "webhooks"),
)
_MATCHING = frozenset({"compile", "match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split"})
_FROM_THE_START = frozenset({"match", "fullmatch"})
# The page that it reads is a file of our own.
_OURS = {("graphql_server/app.py", rb"<(script|style)>(.*?)</\1>")}


@dataclass(frozen=True)
class Pattern:
    place: str
    text: str | bytes
    anywhere: bool


def _value(node: ast.expr, file: Path) -> str | bytes:
    """What an expression for a pattern stands for: a constant, or the name of one in its module."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
        return node.value
    if isinstance(node, ast.Name):
        module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        found = getattr(module, node.id)
        if isinstance(found, str | bytes):
            return found
    raise AssertionError(f"{file}:{node.lineno}: a pattern must be a constant, so that it can be judged")


def _patterns(file: Path) -> Iterator[Pattern]:
    tree = ast.parse(file.read_text("utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "re"]
    assert not imported, f"{file}: write `import re`, so that its patterns are found"
    methods: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _MATCHING:
            methods.setdefault(node.value.id, set()).add(node.attr)
    compiled = {
        node.value: node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        place = f"{file.relative_to(ROOT)}:{node.lineno}"
        for keyword in node.keywords:
            # pydantic's matcher is linear; its patterns are published, and other matchers run them.
            if keyword.arg in ("pattern", "regex"):
                yield Pattern(place, _value(keyword.value, file), anywhere=True)
        called = node.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "re":
            if called.attr not in _MATCHING:
                continue
            used = {called.attr} if called.attr != "compile" else methods.get(compiled.get(node, ""), set())
            yield Pattern(place, _value(node.args[0], file), anywhere=not used or not used <= _FROM_THE_START)


def _sources() -> Iterator[Path]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            if not file.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                yield file


def test_no_pattern_can_be_slow() -> None:
    """Each pattern of each production package is matched in linear time, also one that is searched for in a text."""
    found = [pattern for file in _sources() for pattern in _patterns(file)]
    assert len(found) > 30
    slow = [
        f"{pattern.place}: {pattern.text!r}"
        for pattern in found
        if can_be_slow(pattern.text, anywhere=pattern.anywhere)
        and (pattern.place.partition(":")[0], pattern.text) not in _OURS
    ]
    assert not slow, "\n".join(["read these without a regular expression, or make them unambiguous:", *slow])


@pytest.mark.parametrize(
    ("pattern", "slow"),
    [
        (r"^\s*([a-z*]+)\s*(?:;\s*q\s*=\s*([01]))?\s*$", True),
        (r'\s*([a-z-]+)\s*(?:=\s*(?:"([^"]*)"|([^,\s]*)))?\s*(?:,|$)', True),
        (r"[^@\s]+@[^@\s]+\.[^@\s]+", True),
        (r"^[^\x00]*[^\s\x00][^\x00]*$", True),
        (r"^(a+)+$", True),
        (r"^(a*)*$", True),
        (r"^(a|aa)*b", True),
        (r"^([a-z]+_?)*$", True),
        (r"a+b", True),
        (r"^(?=a*a*b)", True),
        (r"^a{1,5000}a{1,5000}$", True),
        (r"^a+b", False),
        (r"^[a-z]+(_[a-z]+)*$", False),
        (r'(W/)?"([^"]*)"', False),
        (r"^\s*[^\s\x00][^\x00]*$", False),
        (r"^[a-z]{1,9}[a-z]{1,9}$", False),
    ],
)
def test_the_judgement(pattern: str, slow: bool) -> None:
    """The judgement refuses the patterns that have stopped the gateway, and lets plain ones pass."""
    assert can_be_slow(pattern, anywhere=True) is slow
    re.compile(pattern)

"""Words: a program sends, requests, reports and notifies; it does not ask, tell, hear or come."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.commands.processes.settings_list import settings

ROOT = Path(__file__).parents[2]
PROGRAMS = ("chassis", "console", "gateway", "graphql_server", "mcp_server", "partners", "services", "shop", "webhooks")
OF_PERSONS = frozenset(
    ["ask", "asks", "asked", "asking", "tell", "tells", "told", "telling", "hear", "hears", "heard", "hearing"]
)
PERSON_WORD = re.compile(
    r"\b(?:ask(?:s|ed|ing)?|tell(?:s|ing)?|told|say(?:s|ing)?|said|com(?:es?|ing)|came|hear(?:s|d|ing)?|learn(?:s|ed|t|ing)?"
    r"|(?:no|any|every|some)body|(?:any|every|some)one|whoever)\b",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"(?:What|How|Where|Who|Whom|Whose|Which|When|Why|That|Whether)\b")
FRAGMENT = re.compile(r"(?:Of|Those|With|As|By|From|In|None|About how|For JSON|So many)\b")
SHIPPED = (*PROGRAMS, "legacy_soap", "tools", "bench")
# A clause used as a noun within a message, such as "what it met".
CLAUSE_INSIDE = re.compile(r"\b(?:what|whom|whoever|whatever)\b", re.IGNORECASE)
RAISED = re.compile(r"(?:invalid|\w*(?:Error|Exception|Refused|Unavailable|Expired))$")
LOGGED = frozenset(["debug", "info", "warning", "error", "exception", "critical"])
METRICS = frozenset(["counter", "gauge", "histogram"])
HELPS = frozenset(["help", "description", "summary"])
FILES = sorted(path for program in PROGRAMS for path in (ROOT / program).rglob("*.py"))
PROTOS = sorted((ROOT / "protos").rglob("*.proto"))
SHIPPED_FILES = sorted(path for program in SHIPPED for path in (ROOT / program).rglob("*.py"))


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


def first_lines(path: Path) -> Iterator[tuple[str, str, bool]]:
    """Place and first line of each docstring in a module, and whether it is that of a predicate."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line, *_ = (ast.get_docstring(node) or "").splitlines() or [""]
            is_predicate = ast.unparse(getattr(node, "returns", None) or ast.Constant(None)) == "bool"
            yield f"{path.relative_to(ROOT)}:{node.body[0].lineno}", line, is_predicate


def test_a_docstring_begins_in_plain_words() -> None:
    """No docstring's first line describes a program as a person, or is a clause or a fragment of a sentence."""
    found = [
        f"{place} {line}"
        for path in SHIPPED_FILES
        for place, line, is_predicate in first_lines(path)
        # "Whether ..." is the customary beginning of what returns True or False.
        if PERSON_WORD.search(line)
        or FRAGMENT.match(line)
        or (CLAUSE.match(line) and not (is_predicate and line.startswith("Whether ")))
    ]
    assert found == []


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_messages_are_requests_and_responses(proto: Path) -> None:
    """A message of a contract is described as one: it asks, answers and tells nothing."""
    assert re.findall(r"^// (?:Asks|Answers|Tells)\b.*", proto.read_text(), re.MULTILINE) == []


def name_called(call: ast.Call) -> str:
    """The last part of a call's name: `warning` of `log.warning(...)`."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def as_text(node: ast.AST) -> str:
    """A literal's text, with `{}` for each value of an f-string; empty for what is no literal."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(as_text(part) or "{}" for part in parts)
    return ""


def literals(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each string literal in an expression."""
    if text := as_text(node):
        yield node.lineno, text  # type: ignore[attr-defined]
        return
    for child in ast.iter_child_nodes(node):
        yield from literals(child)


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of each message of a module: printed, logged or raised, of a metric, a help or an API document."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = name_called(node)
        texts: list[ast.AST] = [keyword.value for keyword in node.keywords if keyword.arg in HELPS]
        if RAISED.match(name) or name == "echo":
            texts += [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg not in HELPS)]
        elif name in LOGGED or name in METRICS:
            texts += node.args[:2]
        for text in texts:
            yield from literals(text)


def is_plain(message: str) -> bool:
    """Whether a message has no person for a program, and no clause in place of a noun."""
    return not (PERSON_WORD.search(message) or CLAUSE.match(message) or CLAUSE_INSIDE.search(message))


def test_a_message_is_in_plain_words() -> None:
    """No error, log line, help or API document describes a program as a person, or uses a clause as a noun."""
    found = [
        f"{path.relative_to(ROOT)}:{line} {text}"
        for path in FILES
        for line, text in messages(ast.parse(path.read_text()))
        if FRAGMENT.match(text) or not is_plain(text)
    ]
    assert found == []


def test_a_setting_is_described_in_plain_words() -> None:
    """The meaning of each setting is that of a noun: no clause, no person."""
    assert [each for each in settings().values() if not is_plain(each.meaning)] == []


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.stem)
def test_a_field_is_described_in_plain_words(proto: Path) -> None:
    """The comment of a contract's field is no clause; only that of a truth value may begin with `Whether`."""
    blocks = re.findall(r"^((?: *// .*\n)+) *(.*)", proto.read_text(), re.MULTILINE)
    comments = [(" ".join(re.findall(r"// (.*)", block)), field) for block, field in blocks]
    assert comments
    assert [
        comment
        for comment, field in comments
        if CLAUSE.match(comment) and not (comment.startswith("Whether ") and field.startswith("bool "))
    ] == []


def test_a_decision_has_a_plain_title() -> None:
    """The title of an architecture decision record, and the name of its file, have no clause as a noun."""
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    titles = [path.read_text().partition("\n")[0].partition(". ")[2] for path in records]
    slugs = [path.stem[5:].replace("-", " ").capitalize() for path in records]
    assert [each for each in (*titles, *slugs) if not is_plain(each)] == []


@pytest.mark.parametrize(
    "message",
    ["what it met was not counted", "How many at most.", "users tells the gateway", "somebody else is at work"],
)
def test_a_clause_or_a_person_is_found(message: str) -> None:
    """The patterns find the words that they are for."""
    assert not is_plain(message)


def test_messages_are_found_where_they_are_written() -> None:
    """Errors, log lines and helps are found, in f-strings, too; attributes of log lines are none."""
    source = (
        "raise invalid(f'order {x} is bad', items='must be 1')\n"
        "log.info('%s resumed', name)\n"
        "typer.Option(help='Path.')"
    )
    assert {text for _, text in messages(ast.parse(source))} == {"order {} is bad", "must be 1", "%s resumed", "Path."}

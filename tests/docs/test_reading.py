"""The reading guide: about twelve files, in the order an order meets them, short enough for an afternoon."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "reading.md").read_text()
_STEP = re.compile(r"^(\d+)\. \[`([^`]+)`\]\(\.\./([^)]+)\): (.*?)\n\s+\*(.*?)\*$", re.MULTILINE | re.DOTALL)
STEPS = _STEP.findall(GUIDE)

# The way of an order, forward only: to its commit, and what happens after the 202.
WAY = [
    "gateway/routes/orders.py",
    "services/orders/grpc_api.py",
    "services/orders/place_order.py",
    "services/orders/domain.py",
    "services/orders/sql_store.py",
    "protos/shop/events/v1/topology.toml",
    "services/orders/saga.py",
    "services/orders/clients.py",
    "services/erp_adapter/soap_erp.py",
    "webhooks/incoming/http_api.py",
    "services/mailer/consumer.py",
    "services/notifier/transports/sse_api.py",
]


def test_the_files_are_there_in_order() -> None:
    """Steps are numbered without gaps, each links the file that it names, and an order meets them in this order."""
    assert [int(number) for number, *_ in STEPS] == list(range(1, len(STEPS) + 1))
    assert [name for _, name, *_ in STEPS] == [link for _, _, link, *_ in STEPS] == WAY
    for name in WAY:
        assert (ROOT / name).is_file(), name


def test_no_further_file_is_needed() -> None:
    """The steps and their answers name no file but the twelve, so that each question is answered from them."""
    steps, answers = GUIDE.partition("Where to go from here")[0], GUIDE.partition("## Answers")[2]
    assert set(re.findall(r"`([\w/]+\.(?:py|toml|proto))`", steps + answers)) == set(WAY)


def test_each_step_has_a_sentence_and_a_question() -> None:
    """Each file is introduced by one sentence and followed by a question."""
    for _, name, _, sentence, question in STEPS:
        assert sentence.rstrip().endswith("."), name
        assert question.strip().endswith("?"), name


def test_it_can_be_read_in_an_afternoon() -> None:
    """All files together have at most 1,500 lines; guide and README state how many, give or take 3 in 100."""
    lines = sum(map(raw_lines, WAY))
    assert lines <= 1_500
    for stated in (
        re.search(r"twelve files, about ([\d,]+) lines", README),
        re.search(r"^About ([\d,]+) lines", GUIDE, re.MULTILINE),
    ):
        assert stated is not None
        assert number(stated[1]) == pytest.approx(lines, rel=0.03)


def raw_lines(name: str) -> int:
    return len((ROOT / name).read_text().splitlines())


def number(text: str) -> int:
    return int(text.replace(",", ""))


# What runs in production; `partners` and `legacy_soap` stand in for others.
_PROCESSES = {"chassis", "console", "gateway", "graphql_server", "mcp_server", "services", "webhooks"}
_LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Lines of code: without comments, docstrings and blank lines."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Module(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_]) | (
                ast.ClassDef(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_])
                | ast.FunctionDef(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_])
                | ast.AsyncFunctionDef(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_])
            ):
                docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    code = {line for each in tokens if each.type not in _LAYOUT for line in range(each.start[0], each.end[0] + 1)}
    return len(code - docstrings)


def test_the_readme_states_the_size_of_the_whole() -> None:
    """The processes stay below 30,000 lines of code, and its numbers of lines are counted, give or take a twentieth."""
    stated = re.search(
        r"processes are ([\d,]+) lines of Python code; .*? it is ([\d,]+) .*? processes have ([\d,]+) lines",
        README,
        re.DOTALL,
    )
    assert stated is not None
    files = subprocess.check_output(["git", "ls-files", "*.py"], cwd=ROOT, text=True).split()
    sizes = {name: code_lines((ROOT / name).read_text()) for name in files if not name.startswith("tests/")}
    production = [name for name in sizes if name.split("/")[0] in _PROCESSES]
    processes = sum(sizes[name] for name in production)
    assert processes < 30_000
    counted = (processes, sum(sizes.values()), sum(map(raw_lines, production)))
    for text, lines in zip(stated.groups(), counted, strict=True):
        assert number(text) == pytest.approx(lines, rel=0.05)

"""docs/comparison.md says what the kept run measured, and its pictures and links are there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")
pytest.importorskip("connectrpc", reason="not run: needs connectrpc, of the development environment")

from bench.compare.measure.folder import rows
from bench.compare.report.document import DOCUMENT, KEPT, ROOT, written
from bench.compare.report.draw import blocks, names_of_blocks

TEXT = DOCUMENT.read_text()
# How each command of the page begins, and where it is run.
RUN = {
    "shop compare --quick": "tests/compare/test_command.py",
    "shop compare --make-it-lie --quick": "tests/compare/test_command.py",
    "shop compare --draw": "below",
}


def test_every_figure_comes_from_the_kept_run() -> None:
    """Tables and pictures made anew from the kept rows are those that are there, letter by letter."""
    for path, text in written().items():
        assert path.read_text() == text, f"run: python -m bench.compare.report.document ({path.name} is out of date)"


def test_every_block_is_shown_once() -> None:
    """Whatever was measured is on the page, and the page shows nothing that was not."""
    assert sorted(names_of_blocks(TEXT)) == sorted(blocks(KEPT))


def test_every_link_and_picture_is_there() -> None:
    """Files that the page names exist, each picture with words for readers who do not see it."""
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (DOCUMENT.parent / target).exists() or target.startswith("https://"), target
    shown = re.findall(r'<img alt="([^"]{10,})" src="([^"]+)">', TEXT)
    assert len(shown) == TEXT.count("<img")
    assert {Path(source).name for _, source in shown} == {path.name for path in KEPT.glob("*.svg")}
    for _, source in shown:
        path = DOCUMENT.parent / source
        assert path.stat().st_size < 40_000
        ET.fromstring(path.read_text())  # noqa: S314 - our own


def test_every_pair_side_by_side_is_equal() -> None:
    """Within a table of reads all rows have one hash; the shop's groups have one each, and say who the caller is."""
    found = rows(KEPT)
    hashes: dict[tuple[str, ...], set[str]] = {}
    for row in found:
        if "answer_sha256" in row:
            table = (row["experiment"], row["level"], *(str(row.get(each, "")) for each in ("group", "rows", "fields")))
            hashes.setdefault(table, set()).add(row["answer_sha256"])
    assert hashes
    assert {table: each for table, each in hashes.items() if len(each) != 1} == {}
    assert all(row["identity"] for row in found if row["experiment"] == "E1" and row["level"] == "shop")


def test_the_pages_commands_are_run(tmp_path: Path) -> None:
    """Drawing again works as the page says; the others are run where the table above says."""
    commands = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
    assert all(any(command.startswith(begins) for begins in RUN) for command in commands), commands
    drawing = next(command for command in commands if command.startswith("shop compare --draw"))
    arguments = drawing.replace("/tmp/again", str(tmp_path)).split()[1:]  # noqa: S108 - what the page says
    done = subprocess.run(
        [sys.executable, "-m", "shop", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert str(tmp_path / "tables.md") in done.stdout
    assert {path.name for path in tmp_path.glob("*.svg")} == {path.name for path in KEPT.glob("*.svg")}

"""docs/comparison.md says what the kept run measured, and its pictures and links are there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytest.importorskip("hdrh", reason="not run: needs hdrhistogram, of the development environment")
pytest.importorskip("connectrpc", reason="not run: needs connectrpc, of the development environment")

from bench.compare.experiments.shop.news import SHOP_WAYS
from bench.compare.measure.folder import Row, rows
from bench.compare.news.shop_ways import first_polls
from bench.compare.report.document import DOCUMENT, KEPT, ROOT, written
from bench.compare.report.draw import blocks, names_of_blocks
from bench.compare.report.sections.e5 import tables
from partners.payment_provider.bootstrap import Settings as PaymentSettings

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


def test_the_shops_time_to_the_effect_names_the_wait_in_it() -> None:
    """Of the time until an order is shipped, the payment stand-in's delay stands beside it, as its setting says."""
    delay = f"{PaymentSettings.model_fields['payment_delay'].default * 1e3:,.0f}"
    (row,) = [line for line in blocks(KEPT)["e7"].splitlines() if line.startswith("| shop:")]
    assert f", of it {delay} the payment stand-in's delay |" in row
    assert "SHOP_PAYMENT_DELAY" in TEXT


def watched(variant: str, late: Sequence[dict[str, float]], **facts: str) -> list[Row]:
    """The rows of a way to follow an order: one a round."""
    names = {"experiment": "E5", "level": "shop", "variant": variant, "kind": "order"}
    costs = {"bytes": 100, "opening_bytes": 0, "events": 3}
    return [{**names, **costs, "late_ms": each, "seen": len(each), **facts} for each in late]


def shown(late: Sequence[dict[str, float]], **facts: str) -> str:
    """What E5's table in the shop says of polling where these rounds saw an order's steps so late."""
    one = {"experiment": "E5", "level": "bare", "variant": "sse", "kind": "one", "every_s": 0.0, "p50_ms": 1.0}
    one |= {"max_ms": 1.0, "idle_bytes_per_s": 0.0, "window_bytes": 10, "window_s": 1.0, "events": 2, "seen": 2}
    found = [row for way in SHOP_WAYS for row in watched(way.name, late, **facts)]
    return tables([one, *found])["e5-shop"]


def test_a_median_of_some_rounds_says_of_how_many() -> None:
    """A step that polls saw in 2 of 7 rounds stands with its median and the 2, and without an interval."""
    both, one = {"confirmed": 10.0, "paid": 30.0, "shipped": 5.0}, {"confirmed": 10.0, "shipped": 5.0}
    text = shown([both, both, one, one, one, one, one], phase="random")
    assert "| polling, 1 s | 10 (10-10) | 30, 2 of 7 | 5.0 (5.0-5.0) |" in text
    assert "rhythm" not in text


def test_polls_do_not_begin_with_the_order() -> None:
    """The first polls of seven orders lie all over the period, at the same places in each run."""
    found = list(islice(first_polls(10.0), 7))
    assert found == list(islice(first_polls(10.0), 7))
    assert all(0 <= each < 10 for each in found)
    assert max(found) - min(found) > 5
    assert list(islice(first_polls(0.0), 2)) == [0.0, 0.0]


def test_polls_that_began_with_the_order_are_told_apart() -> None:
    """Rows without a phase of their own, of older runs, are shown with what they cannot say."""
    assert "In this run each polling client began with the order" in shown([{"confirmed": 10.0, "shipped": 5.0}] * 7)


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

"""docs/adr: one format for every decision record, and an index that agrees with them."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs/adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
REQUIRED = {"Context", "Decision", "Consequences"}
ORDER = ["Context", "Decision", "Considered", "Measured", "Consequences"]


def _title(record: Path) -> str:
    return record.read_text().partition("\n")[0]


def test_records_are_numbered_without_gaps() -> None:
    """The n-th file has the number n in its name and in its title."""
    numbers = range(1, len(RECORDS) + 1)
    assert [int(record.name[:4]) for record in RECORDS] == list(numbers)
    assert [_title(record).split(". ")[0] for record in RECORDS] == [f"# {number}" for number in numbers]


def test_the_index_has_every_title() -> None:
    """The index links each record under its own title, in order."""
    entries = re.findall(r"^(\d+)\. \[(.+)\]\((.+)\)$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert [f"# {number}. {title}" for number, title, _ in entries] == [_title(record) for record in RECORDS]
    assert [link for *_, link in entries] == [record.name for record in RECORDS]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name[:4])
def test_a_record_has_the_one_format(record: Path) -> None:
    """After the title the decision stands in one bold line; then come the sections, each with a text, in one order."""
    text = record.read_text()
    _, quote, sections = re.split(r"\n\n", text, maxsplit=2)
    assert re.fullmatch(r"\*\*[^*\n]+\.\*\*", quote), "the decision in one bold line"
    names = re.findall(r"^#+ (.+)$", sections, re.MULTILINE)
    assert names == [name for name in ORDER if name in names]
    assert set(names) >= REQUIRED
    assert all(body.strip() for body in re.split(r"^## .+$", sections, flags=re.MULTILINE)[1:])

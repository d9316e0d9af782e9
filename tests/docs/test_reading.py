"""The reading guide: about twelve files, in the order an order meets them, short enough for an afternoon."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
    "services/orders/saga.py",
]


def test_the_files_are_there_in_order() -> None:
    """Steps are numbered without gaps, each links the file that it names, and an order meets them in this order."""
    assert [int(number) for number, *_ in STEPS] == list(range(1, len(STEPS) + 1))
    assert 10 <= len(STEPS) <= 14
    for _, name, link, *_ in STEPS:
        assert name == link
        assert (ROOT / name).is_file(), name
    places = [[name for _, name, *_ in STEPS].index(each) for each in WAY]
    assert places == sorted(places)


def test_each_step_has_a_sentence_and_a_question() -> None:
    """Each file is introduced by one sentence and followed by a question."""
    for _, name, _, sentence, question in STEPS:
        assert sentence.rstrip().endswith("."), name
        assert question.strip().endswith("?"), name


def test_it_can_be_read_in_an_afternoon() -> None:
    """All files together have at most 1,500 lines."""
    assert sum(len((ROOT / name).read_text().splitlines()) for _, name, *_ in STEPS) <= 1_500

"""Mutants: small patches that apply to the code as it is, one at least for each promise. Their runs are nightly."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop.fault.scenarios.promises import PROMISES
from tests.faults import promises_page
from tests.faults.mutation import FOLDER, MAX_LINES, ROOT, Mutant, apply, lines, mutants
from tests.faults.test_verdicts import scenario

MUTANTS = mutants()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_a_small_patch_that_applies(name: str) -> None:
    """To the code as it is, so that it is known to break what it says."""
    mutant = MUTANTS[name]
    assert 0 < lines(mutant.patch.read_text()) <= MAX_LINES
    assert apply(mutant.patch, ROOT, "--check") == ""


def test_every_patch_is_tried_and_every_promise_can_be_broken() -> None:
    """A promise that no mutant breaks may be one that cannot fail."""
    assert {path.stem for path in FOLDER.glob("*.patch")} == MUTANTS.keys()
    assert frozenset().union(*(each.red for each in MUTANTS.values())) == PROMISES.keys()
    for each in MUTANTS.values():
        assert each.red | each.follows <= set(each.scenario.promises), each.name


@pytest.mark.parametrize(
    ("broken", "caught"),
    [
        ({"nothing-lost"}, True),
        ({"nothing-lost", "recovers"}, True),
        ({"recovers"}, False),
        (set(), False),
        ({"nothing-lost", "nothing-doubled"}, False),
    ],
)
def test_a_mutant_is_caught_by_exactly_its_promises(broken: set[str], *, caught: bool) -> None:
    """What follows from them may break, too; nothing else may."""
    mutant = Mutant("m", "", frozenset({"nothing-lost"}), frozenset({"recovers"}), scenario("kill orders"))
    assert mutant.caught(frozenset(broken)) is caught


def test_a_patch_that_does_not_fit_is_told(tmp_path: Path) -> None:
    """Instead of a run that proves nothing."""
    assert "chassis/broker/consumer.py" in apply(MUTANTS["ack-first"].patch, tmp_path, "--check")


def test_the_page_of_promises_is_current() -> None:
    """`python -m tests.faults.promises_page` writes it."""
    assert promises_page.DOCUMENT.read_text() == promises_page.text()

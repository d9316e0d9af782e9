"""The sums of the stock, and what an audit prints and answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from shop.audit import command
from shop.audit.findings import Finding, State, different, lost
from shop.audit.records import (
    Reservation,
    Stock,
)
from shop.audit.report import LISTED, Report, as_dict, as_text
from shop.audit.stock import Promised, judge_stock


def promised(*reservations: Reservation) -> Promised:
    sums = Promised()
    for reservation in reservations:
        sums.add(reservation)
    return sums


GONE = promised(Reservation("o1", "shipped", {"42": 2}))


@pytest.mark.parametrize(
    ("stock", "settled_", "words"),
    [
        (Stock("42", 100, 98, 0, 2, 98), True, ""),
        (Stock("42", 100, 97, 0, 2, 98), False, "is not the 100 that came in"),
        (Stock("42", 100, 97, 1, 2, 98), True, "by its reservations 0 held and 2 shipped"),
        (Stock("42", 100, 97, 1, 2, 98), False, ""),
        (Stock("42", 100, 98, 0, 2, 100), True, "the ERP has 100, not 98"),
        (Stock("42", 100, 98, 0, 2, None), True, "the ERP gave no figure"),
    ],
)
def test_all_stock_is_there_promised_or_gone(stock: Stock, words: str, *, settled_: bool) -> None:
    """A product's figures add up at any time, and fit the reservations and the ERP while no order moves."""
    text = "".join(finding.what for finding in judge_stock(stock, GONE, settled=settled_))
    assert words in text
    assert bool(text) == bool(words)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (State.SETTLED, 0),
        (State.IN_FLIGHT, 0),
        (State.OPEN, 2),
        (State.WAITING, 1),
        (State.DIFFERENT, 1),
        (State.LOST, 1),
    ],
)
def test_exit_code_says_what_was_found(state: State, code: int) -> None:
    """0: settled or in flight. 1: lost, different, or waiting for a person. 2: something cannot be judged."""
    report = Report()
    report.add("o1", [] if state is State.SETTLED else [Finding(state, "why")])
    assert report.exit_code == code
    assert as_dict(report)["exit_code"] == code
    assert ("o1: why" in as_text(report)) is (state is not State.SETTLED)
    assert Report(unread={"mails": "away"}).exit_code == 2


def test_report_stays_small() -> None:
    """However much is wrong, all of it is counted and only the first 1,000 of a kind are listed."""
    report = Report()
    for number in range(LISTED + 5):
        report.add(f"o{number}", [lost("gone")])
    assert len(report.differences) == LISTED
    assert as_dict(report)["not_listed"] == 5
    assert "lost: 5 more" in as_text(report)


@pytest.mark.parametrize(("wrong", "code"), [(False, 0), (True, 1)])
async def test_what_no_second_look_has_seen_was_on_its_way(
    monkeypatch: pytest.MonkeyPatch, *, wrong: bool, code: int
) -> None:
    """However many orders come in, only what two looks in a row have seen is wrong."""
    looks = 0

    async def look(_: object) -> Report:
        nonlocal looks
        looks += 1
        report = Report()
        report.judge(f"new{looks}", [different("half done")])
        report.judge("old", [lost("gone")] if wrong else [])
        return report

    monkeypatch.setattr(command, "look", look)
    monkeypatch.setattr(command, "_PAUSE", 0.0)
    report = await command.audit_running_shop(cast("Any", None), wait=0.0)
    assert looks == 5
    assert report.exit_code == code
    assert [entry.subject for entry in report.differences] == (["old"] if wrong else [])
    assert [entry.subject for entry in report.in_flight] == ["new5"]
    assert report.orders[State.IN_FLIGHT] == 1
    assert report.orders[State.DIFFERENT] == 0

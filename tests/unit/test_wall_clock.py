"""The wall clock: right, unless a lab has set it; and nothing but the wall clock is set."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chassis import wall_clock
from chassis.wall_clock import LabClock


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabClock]:
    """This process follows a lab's clock, which is right, and no more after the test."""
    monkeypatch.setattr(wall_clock, "_error", None)
    LabClock.create(tmp_path / "orders")
    wall_clock.follow(tmp_path / "orders")
    yield LabClock(tmp_path / "orders")
    monkeypatch.undo()


def wrong_by() -> tuple[float, float]:
    """Seconds by which both functions are ahead."""
    return wall_clock.seconds() - time.time(), (wall_clock.now() - datetime.now(UTC)).total_seconds()


def test_clock_without_a_lab_is_the_systems() -> None:
    """Both functions say the time of day, and `now` says it in UTC."""
    assert wrong_by() == pytest.approx((0, 0), abs=1)
    assert wall_clock.now().tzinfo is UTC


@pytest.mark.parametrize("ahead", [3_600.0, -600.0])
def test_lab_sets_the_clock_and_puts_it_right(lab: LabClock, ahead: float) -> None:
    """It jumps at once, forwards or backwards, and back; the monotonic clock goes on as before."""
    assert wrong_by() == pytest.approx((0, 0), abs=1)
    before = time.monotonic()
    lab.set(ahead, lasting=60)
    assert wrong_by() == pytest.approx((ahead, ahead), abs=1)
    lab.set(0.0, lasting=0)
    assert wrong_by() == pytest.approx((0, 0), abs=1)
    assert 0 <= time.monotonic() - before < 60


def test_clock_is_right_by_itself_after_its_time(lab: LabClock) -> None:
    """Should the lab be gone, the time that it gave still ends."""
    lab.set(3_600.0, lasting=-1)
    assert wrong_by() == pytest.approx((0, 0), abs=1)


def test_readings_of_a_wrong_clock_are_counted(lab: LabClock) -> None:
    """Those of a right one are not: they meet no fault."""
    wrong_by()
    assert lab.readings == 0
    lab.set(1.0, lasting=60)
    wrong_by()
    assert lab.readings == 2


def test_clock_without_a_file_is_an_error(tmp_path: Path) -> None:
    """A path that leads nowhere is not taken for a clock that is right."""
    with pytest.raises(OSError, match="orders"):
        LabClock(tmp_path / "orders")

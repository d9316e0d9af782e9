"""A fault whose shop ends before it."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any, cast

import pytest

from shop.errors import Refused
from shop.fault.at_work import alone, at_work, lasting
from shop.fault.faults.ground import Ground
from shop.fault.faults.processes import Freeze, Kill


class GoneLinks:
    """A fake: the links of a lab that has gone since it was looked for."""

    def there(self) -> bool:
        return True

    def all(self, within: float = 1.0) -> Any:
        raise Refused(f"no lab ({within})")


def test_a_fault_can_be_ended_when_its_shop_has_gone(tmp_path: Path) -> None:
    """What it met is not counted any more, and its end says what there is to say."""
    ground = Ground({}, tmp_path, cast("Any", GoneLinks()))
    assert ground.links_of("mailer") == []
    assert Freeze(ground, ["mailer"]).end() == "mailer went on"
    assert "mailer" in Kill(ground, ["mailer"], {}).end()


def test_a_fault_that_is_just_beginning_is_not_taken_for_a_dead_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that looks before its file is locked leaves it there, so that the fault can be seen and stopped."""
    flock = fcntl.flock

    def look_first(file: Any, how: int) -> None:
        monkeypatch.undo()
        assert at_work(tmp_path) == []
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", look_first)
    ground = Ground({}, tmp_path, cast("Any", GoneLinks()))
    with lasting(ground, Freeze(ground, ["mailer"])):
        assert at_work(tmp_path) == ["freeze mailer"]
    assert at_work(tmp_path) == []


def test_two_faults_do_not_share_what_has_one_switch(tmp_path: Path) -> None:
    """The first to end would undo both: the second is refused with a word on what to do, and may begin after it."""
    release = alone(tmp_path, "erp", "clock of orders")
    with pytest.raises(Refused, match="erp is broken already by another `shop fault`"):
        alone(tmp_path, "clock of mailer", "erp")
    alone(tmp_path, "clock of mailer")()  # the refused one keeps nothing
    release()
    alone(tmp_path, "erp")()

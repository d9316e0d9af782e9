"""The order of the modules: no long one comes last, no worker has all of them, and nothing is lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import longest_first
from tests.longest_first import module_of, ordered

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Test:
    """Fake: a test that has nothing but its name."""

    __test__ = False
    nodeid: str


def listed(**modules: int) -> list[Test]:
    return [Test(f"{name}::test_{number}") for name, count in modules.items() for number in range(count)]


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_each_share_begins_with_long_modules(workers: int) -> None:
    """Every worker's share has its part of the seconds, in whole modules at its beginning."""
    known = {"f": 60.0, "g": 50.0, "h": 40.0, "i": 30.0}
    tests = listed(a=100, b=30, c=7, f=3, g=2, d=20, h=4, i=1, e=41)
    found = ordered(tests, known, workers)
    assert sorted(found, key=str) == sorted(tests, key=str)
    begin, load = 0, []
    for number in range(workers):
        size = (len(tests) + number) // workers
        share = [module_of(test.nodeid) for test in found[begin : begin + size]]
        begin += size
        long = [name for name in share if name in known]
        assert share[: len(long)] == long
        load.append(sum(known[name] for name in set(long)))
    assert sum(load) == sum(known.values())
    assert max(load) - min(load) <= 30


def test_tests_of_a_module_stay_together() -> None:
    """Within a module the order is the one that was collected."""
    tests = listed(a=5, long=4, b=6)
    for name in ("a", "long", "b"):
        mine = [test for test in tests if module_of(test.nodeid) == name]
        assert [test for test in ordered(tests, {"long": 9.0}, 2) if test in mine] == mine


def test_a_chosen_order_is_kept() -> None:
    """Tests that were mixed, as by a plugin that tries any order, stay mixed."""
    first, second = listed(a=2, long=2)[::2], listed(a=2, long=2)[1::2]
    assert ordered([*first, *second], {"long": 9.0}, 2) == [*first, *second]


def test_every_module_of_the_table_is_there() -> None:
    """The table names no module that was moved."""
    assert [name for name in longest_first.seconds() if not (ROOT / name).is_file()] == []


def test_the_table_is_written_by_a_run(tmp_path: Path) -> None:
    """Set-up, call and tear-down are added up, by module; what is short is left out, what was not run stays."""
    (tmp_path / "table").write_text('[seconds]\n"c" = 80\n"long" = 70\n')
    durations = longest_first.Durations(tmp_path / "table")
    for name, took in (("a::x", 3.0), ("b::x", 4.9), ("a::x", 1.0), ("c::x", 9.0), ("a::y", 2.4)):
        report = pytest.TestReport(name, ("", 0, ""), {}, "passed", None, "call", duration=took)
        durations.pytest_runtest_logreport(report)
    durations.pytest_sessionfinish()
    assert (tmp_path / "table").read_text().splitlines()[1:] == ["[seconds]", '"long" = 70', '"c" = 9', '"a" = 6']

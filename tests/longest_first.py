"""The order of the modules: those that take longest begin, spread over the workers, so that none comes last.

Each worker begins with its share of the tests, in order, and when it has none left it takes some from the end of
another's. `tests/longest.toml` has the seconds of the modules that take five and more;
`TEST_DURATIONS=tests/longest.toml make test test-long` measures them anew.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

TABLE = Path(__file__).parent / "longest.toml"
LONG = 5.0
HEADER = "# Written by: TEST_DURATIONS=tests/longest.toml make test test-long"


class Located(Protocol):
    """A test, of which only the module counts."""

    @property
    def nodeid(self) -> str: ...


T = TypeVar("T", bound=Located)


def module_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def seconds(path: Path = TABLE) -> dict[str, float]:
    """Module -> how long it takes."""
    with path.open("rb") as file:
        table: dict[str, float] = tomllib.load(file)["seconds"]
    return table


def ordered(tests: Sequence[T], known: dict[str, float], workers: int) -> list[T]:
    """The same tests: each worker's share begins with long modules, and all shares take about as long.

    A worker's share is as many tests as another's, side by side.
    """
    modules = {name: list(each) for name, each in groupby(tests, lambda test: module_of(test.nodeid))}
    if sum(map(len, modules.values())) != len(tests):
        return list(tests)  # they were mixed on purpose
    # As pytest-xdist deals them out: as many to each, the later ones one more where that cannot be.
    sizes = [(len(tests) + number) // workers for number in range(workers)]
    shares: list[list[T]] = [[] for _ in range(workers)]
    load = [0.0] * workers
    for name in sorted(modules.keys() & known.keys(), key=lambda name: (-known[name], name)):
        open_ones = [at for at in range(workers) if len(shares[at]) + len(modules[name]) <= sizes[at]]
        if open_ones:
            lightest = min(open_ones, key=lambda at: load[at])
            shares[lightest] += modules.pop(name)
            load[lightest] += known[name]
    rest = [test for each in modules.values() for test in each]
    for share, size in zip(shares, sizes, strict=True):
        missing = size - len(share)
        share.extend(rest[:missing])
        rest = rest[missing:]
    return [test for share in shares for test in share]


class Durations:
    """Adds up what tests take, setting up and tearing down included, and writes the table at the end.

    Modules that this run left out, such as those of `make test-long`, keep what the table had.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = module_of(report.nodeid)
        self._seconds[name] = self._seconds.get(name, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        before = seconds(self._path) if self._path.exists() else {}
        found = sorted({**before, **self._seconds}.items(), key=lambda each: -each[1])
        lines = [f'"{name}" = {took:.0f}' for name, took in found if took >= LONG]
        self._path.write_text("\n".join([HEADER, "[seconds]", *lines, ""]))

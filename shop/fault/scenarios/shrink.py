"""Shrinking: from a schedule that breaks a promise to the shortest one that still does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from shop.fault.scenarios.result import Result, Verdict
from shop.fault.scenarios.scenario import Scenario


def shortest(failed: Result, again: Callable[[Scenario], Result]) -> Result:
    """Drop faults one by one, with the same seed, for as long as the rest still breaks a promise.

    `again` runs a scenario. The result is the last one that was broken: the given one where every fault is needed.
    """
    index = 0
    while len(failed.scenario.faults) > 1 and index < len(failed.scenario.faults):
        faults = failed.scenario.faults
        tried = again(replace(failed.scenario, faults=faults[:index] + faults[index + 1 :]))
        if tried.verdict is Verdict.BROKEN:
            failed = tried
        else:
            index += 1
    return failed

"""The result of a run: a verdict with its evidence, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from shop.fault.scenarios.load import Attempt, Placed
from shop.fault.scenarios.promises import Judgement
from shop.fault.scenarios.scenario import Scenario


class Verdict(StrEnum):
    """KEPT: every promise held. BROKEN: one did not. VOID: a fault met no traffic, or nothing was checked.

    It is VOID, too, where a part of the load was not made.
    """

    KEPT = "kept"
    BROKEN = "broken"
    VOID = "void"


EXIT_CODES = {Verdict.KEPT: 0, Verdict.BROKEN: 1, Verdict.VOID: 2}


@dataclass(frozen=True, slots=True)
class Bite:
    """Result of a fault of the schedule: its beginning, its end, and the traffic that it met."""

    do: str
    at_s: float
    until_s: float
    met: int
    begun: str
    undone: str


@dataclass(frozen=True, slots=True)
class Phase:
    """A route's requests before, during or after the faults; times in seconds."""

    count: int
    errors: int
    p50: float
    p99: float

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> Phase:
        """Their count, failures and percentiles."""
        times = sorted(each.seconds for each in attempts)
        return cls(len(times), sum(each.failed for each in attempts), _share(times, 0.5), _share(times, 0.99))


@dataclass(frozen=True, slots=True)
class Route:
    """A route, phase by phase."""

    route: str
    before: Phase
    during: Phase
    after: Phase


@dataclass(slots=True)
class Result:
    """Result of a run. `healthy` and `worst` are pages with the X-ray of an order."""

    scenario: Scenario
    verdict: Verdict
    reasons: list[str]
    bites: list[Bite]
    promises: list[Judgement]
    routes: list[Route]
    recovered_s: float | None
    orders: int
    accepted: int
    dropped_duplicates: int | None = None
    counterexamples: dict[str, str] = field(default_factory=dict)
    healthy: str = ""
    worst: str = ""
    # Requests that were due and not made.
    skipped: int = 0

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """The result in a form for JSON; `scenario` is what `shop fault replay` reads."""
        return {
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "reasons": self.reasons,
            "scenario": self.scenario.as_dict(),
            "bites": [asdict(bite) for bite in self.bites],
            "promises": [{**asdict(each), "xray": self.counterexamples.get(each.name)} for each in self.promises],
            "routes": [asdict(route) for route in self.routes],
            "recovered_s": self.recovered_s,
            "orders": self.orders,
            "accepted": self.accepted,
            "skipped": self.skipped,
            "dropped_duplicates": self.dropped_duplicates,
            "healthy": self.healthy,
            "worst": self.worst,
        }

    def as_text(self) -> str:
        """The result as text for a terminal of 100 columns."""
        lines = [f"{self.scenario.name}: {self.verdict.upper()}", f"  {self.scenario.sentence}"]
        lines += [f"  because {reason}" for reason in self.reasons]
        lines.append("  broken on purpose")
        for bite in self.bites:
            lines.append(f"    {bite.at_s:5.1f} s  {bite.do}: met {bite.met}")
            lines.append(f"             {bite.begun}; {bite.undone} at {bite.until_s:.1f} s")
        lines.append("  promises")
        for each in self.promises:
            state = "kept" if each.kept else "BROKEN"
            lines.append(f"    {each.name:<20} {state:<7} {each.text} ({each.checked} checked)")
            if each.name in self.counterexamples:
                lines.append(f"      X-ray: {self.counterexamples[each.name]}")
        if self.dropped_duplicates:
            lines.append(f"    {self.dropped_duplicates} messages were delivered twice and dropped by the inbox")
        if self.skipped:
            lines.append(f"    {self.skipped} requests were not made, because too many were under way")
        lines.append("  requests: count, errors, p50 and p99 in ms")
        lines.append(f"    {'route':<36} {'before':<19} {'during':<19} after")
        lines += [
            f"    {route.route:<36} {_phase(route.before):<19} {_phase(route.during):<19} {_phase(route.after)}"
            for route in self.routes
        ]
        lines += [f"  a healthy order: {self.healthy}"] if self.healthy else []
        lines += [f"  the slowest one: {self.worst}"] if self.worst else []
        return "\n".join(lines)


def verdict(bites: Iterable[Bite], promises: Iterable[Judgement], skipped: int = 0) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons: a broken promise first, then what makes it void.

    `skipped` is the number of requests that were due and not made.
    """
    if broken := [f"{each.name} is broken: {each.text}" for each in promises if not each.kept]:
        return Verdict.BROKEN, broken
    void = [f"`{bite.do}` met no traffic" for bite in bites if not bite.met]
    void += [f"{each.name} had nothing to check" for each in promises if not each.checked]
    void += [f"{skipped} requests of the load were not made"] if skipped else []
    return (Verdict.VOID, void) if void else (Verdict.KEPT, [])


def routes(attempts: Sequence[Attempt], began: float, ended: float) -> list[Route]:
    """Requests by route and phase."""
    names = dict.fromkeys(each.route for each in attempts)
    found = []
    for name in names:
        mine = [each for each in attempts if each.route == name]
        before = [each for each in mine if each.due < began]
        during = [each for each in mine if began <= each.due <= ended]
        after = [each for each in mine if each.due > ended]
        found.append(Route(name, Phase.of(before), Phase.of(during), Phase.of(after)))
    return found


def slowest(orders: Sequence[Placed]) -> tuple[Placed | None, Placed | None]:
    """A quick order and the slowest one, of those that ended."""
    ended = [order for order in orders if order.settled is not None and order.trace_id]
    ended.sort(key=lambda order: (order.settled or 0.0) - order.due)
    return (ended[0], ended[-1]) if ended else (None, None)


def _share(times: Sequence[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))] if times else 0.0


def _phase(phase: Phase) -> str:
    if not phase.count:
        return "-"
    return f"{phase.count} {phase.errors} {phase.p50 * 1000:.0f} {phase.p99 * 1000:.0f}"

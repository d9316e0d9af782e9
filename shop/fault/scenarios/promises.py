"""The promises: what must hold whatever breaks. Each counts what it checked, and shows what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from shop.audit import Report
from shop.audit.findings import State
from shop.audit.report import Entry
from shop.fault.scenarios.load import TERMINAL, Attempt, Clients
from shop.fault.scenarios.scenario import Scenario

# Seconds until a breaker has seen enough timeouts, and that an answer may take from then on (a timeout takes 2).
_BREAKER_OPENS_WITHIN = 3.5
_FAST = 0.7
# What a route may typically take beside a fault that is not its own: seconds, and of what it took before.
_UNHURRIED, _TIMES_AS_LONG = 1.0, 3.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a run has seen: the clients' side, and the audit of every book (None where it could not be made).

    `before` are findings that the audit had already made before the run. Times are monotonic seconds.
    """

    scenario: Scenario
    clients: Clients
    audit: Report | None
    before: frozenset[Entry]
    began: float
    ended: float
    recovered_s: float | None

    def findings(self, state: State) -> list[Entry]:
        """Findings of this kind that are new in this audit."""
        return [] if self.audit is None else [each for each in self.audit.listed[state] if each not in self.before]

    @property
    def audited(self) -> bool:
        """Whether every book was read and every order judged; else nothing is known of what may be lost."""
        return self.audit is not None and not self.audit.unread and not self.audit.found[State.OPEN]

    @property
    def during(self) -> list[Attempt]:
        """Requests that were due while something was broken."""
        return [each for each in self.clients.attempts if self.began <= each.due <= self.ended]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdict on one promise; `counterexample` is an order's id where one shows it."""

    name: str
    kept: bool
    checked: int
    text: str
    counterexample: str = ""


Judge = Callable[[Evidence], Judgement]


def _nothing_lost(evidence: Evidence) -> Judgement:
    """Every order that was accepted is on the books of every service, and no book misses a step."""
    accepted = {id_ for order in evidence.clients.accepted for id_ in order.ids}
    listed = evidence.clients.listed
    missing = sorted(accepted - {order["id"] for order in listed}) if listed is not None else []
    lost = evidence.findings(State.LOST)
    checked = len(accepted) if listed is not None and evidence.audited else 0
    count = len({*missing, *(entry.subject for entry in lost)})
    example = next(iter(missing), "") or next((entry.subject for entry in lost), "")
    why = f": {lost[0].what}" if lost else ""
    return Judgement("nothing-lost", not count, checked, f"{count} lost of {len(accepted)}{why}", example)


def _nothing_doubled(evidence: Evidence) -> Judgement:
    """One key, one order; and no book has anything twice, altered or foreign."""
    orders, listed = evidence.clients.orders, evidence.clients.listed or []
    several = [order for order in orders if len(order.ids) > 1]
    # An order whose answers were all lost may be there once.
    extra = max(0, len(listed) - sum(1 for order in orders if order.tries))
    different = evidence.findings(State.DIFFERENT)
    count = len(several) + extra + len(different)
    repeated = sum(order.tries > 1 for order in orders)
    why = f": {different[0].what}" if different else ""
    example = next(iter(sorted(several[0].ids)), "") if several else next((each.subject for each in different), "")
    checked = len(listed) if evidence.audited else 0
    text = f"{count} doubled or different of {len(listed)}; {repeated} were sent again{why}"
    return Judgement("nothing-doubled", not count, checked, text, example)


def _all_settle(evidence: Evidence) -> Judgement:
    """Every accepted order ends, and none waits for a person."""
    accepted = evidence.clients.accepted
    open_ = [order for order in accepted if order.settled is None]
    waiting = evidence.findings(State.WAITING)
    ends = ", ".join(f"{sum(order.status == end for order in accepted)} {end}" for end in sorted(TERMINAL))
    example = min(open_[0].ids) if open_ else next((entry.subject for entry in waiting), "")
    why = f"; waiting for a person: {waiting[0].what}" if waiting else ""
    text = f"{len(open_)} of {len(accepted)} not at their end ({ends}){why}"
    return Judgement("all-settle", not open_ and not waiting, len(accepted), text, example)


def _answers_honest(evidence: Evidence) -> Judgement:
    """A request that cannot be served gets 429, 503 or 504 with a problem's code, and when to try again."""
    answers = [each for each in evidence.clients.attempts if each.status]
    wrong = [each for each in answers if not each.honest]
    shown = f": {wrong[0].route} was answered {wrong[0].status} {wrong[0].note}" if wrong else ""
    return Judgement("answers-honest", not wrong, len(answers), f"{len(wrong)} of {len(answers)} not{shown}")


def _recovers(evidence: Evidence) -> Judgement:
    """Soon after the last fault everything works as before."""
    limit = evidence.scenario.recover_within_s
    after = sum(each.due > evidence.ended for each in evidence.clients.attempts)
    if evidence.recovered_s is None:
        return Judgement("recovers", kept=False, checked=after, text=f"not within {limit:g} s")
    text = f"after {evidence.recovered_s:.1f} s, of {limit:g} allowed"
    return Judgement("recovers", evidence.recovered_s <= limit, after, text)


def _unrelated_flat(evidence: Evidence) -> Judgement:
    """Routes that do not need what is broken fail no request, and take no longer than before."""
    tried = [each for each in evidence.during if each.route in evidence.scenario.unrelated]
    failed = [each for each in tried if each.failed]
    slower = [words for route in evidence.scenario.unrelated if (words := _slower(evidence, route))]
    shown = f": {failed[0].route} was answered {failed[0].status or 'not at all'}" if failed else ""
    text = "; ".join([f"{len(failed)} of {len(tried)} failed{shown}", *slower])
    return Judgement("unrelated-flat", not failed and not slower, len(tried), text)


def _slower(evidence: Evidence, route: str) -> str:
    """A complaint about a route that took longer than before, and longer than a busy machine explains."""
    before = [each.seconds for each in evidence.clients.attempts if each.route == route and each.due < evidence.began]
    during = [each.seconds for each in evidence.during if each.route == route]
    if not during:
        return ""
    usual = median(before) if before else 0.0
    allowed = max(_UNHURRIED, _TIMES_AS_LONG * usual)
    return "" if median(during) <= allowed else f"{route} typically took {median(during):.2f} s, {usual:.2f} before"


def _fails_fast(evidence: Evidence) -> Judgement:
    """While a process stays silent, requests that need it are soon refused at once, not after a timeout each."""
    since = evidence.began + _BREAKER_OPENS_WITHIN
    tried = [each for each in evidence.during if each.route in evidence.scenario.affected and each.due >= since]
    typical = median(each.seconds for each in tried) if tried else 0.0
    text = f"typically {typical:.2f} s, of {_FAST:g} allowed, {_BREAKER_OPENS_WITHIN:g} s after it began"
    return Judgement("fails-fast", typical <= _FAST, len(tried), text)


def _listeners_receive_once(evidence: Evidence) -> Judgement:
    """Every listener receives each event of each order once, whatever it had to reconnect to."""
    twice = sum(count > 1 for received in evidence.clients.received for count in received.values())
    shipped = {id_ for order in evidence.clients.accepted if order.status == "shipped" for id_ in order.ids}
    story = {f"order.{step}" for step in ("placed", "confirmed", "paid", "shipped")}
    missed = [
        (id_, step)
        for received in evidence.clients.stories
        for id_ in sorted(shipped)
        for step in sorted(story)
        if (id_, step) not in received
    ]
    events = sum(len(received) for received in evidence.clients.received)
    text = f"{twice} twice and {len(missed)} missed of {events} events, {evidence.clients.reconnects} reconnects"
    example = missed[0][0] if missed else ""
    return Judgement("listeners-hear-once", not twice and not missed, events if shipped else 0, text, example)


PROMISES: Mapping[str, Judge] = {
    "nothing-lost": _nothing_lost,
    "nothing-doubled": _nothing_doubled,
    "all-settle": _all_settle,
    "answers-honest": _answers_honest,
    "recovers": _recovers,
    "unrelated-flat": _unrelated_flat,
    "fails-fast": _fails_fast,
    "listeners-hear-once": _listeners_receive_once,
}


def meaning(name: str) -> str:
    """A promise in one sentence."""
    return (PROMISES[name].__doc__ or "").strip()


def judge(evidence: Evidence) -> list[Judgement]:
    """Verdict on each promise of the scenario."""
    return [PROMISES[name](evidence) for name in evidence.scenario.promises]

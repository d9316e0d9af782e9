"""The audit's report: findings counted and listed, as text and as JSON, with the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from shop.audit.findings import Finding, State, in_flight, verdict

# So many of each kind are listed; all are counted.
LISTED = 1_000
_WRONG = (State.LOST, State.DIFFERENT)
_TITLES = {
    State.LOST: "lost",
    State.DIFFERENT: "different",
    State.WAITING: "waiting for a person",
    State.OPEN: "cannot be judged",
    State.IN_FLIGHT: "in flight",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding about `subject`: an order's id, a product's, or a webhook's."""

    subject: str
    state: State
    what: str


@dataclass(slots=True)
class Report:
    """`orders` counts them by verdict, `found` the findings by state; each state's first 1,000 are listed."""

    orders: Counter[State] = field(default_factory=Counter)
    found: Counter[State] = field(default_factory=Counter)
    listed: dict[State, list[Entry]] = field(default_factory=lambda: {state: [] for state in State})
    demo_orders: int = 0
    unread: Mapping[str, str] = field(default_factory=dict)
    mails_forgotten: int = 0
    mails_forgotten_until: datetime | None = None
    webhooks_complete_since: datetime | None = None
    # Paid orders of days that the sales report cannot have in full.
    sales_not_compared: int = 0

    # The orders whose verdict is that something is wrong or open, with it.
    unsure: dict[str, State] = field(default_factory=dict)

    def judge(self, order_id: str, findings: Sequence[Finding]) -> None:
        """Take in what was found about an order, the worst of which is its verdict."""
        state = verdict(findings)
        self.orders[state] += 1
        if state in (*_WRONG, State.OPEN):
            self.unsure[order_id] = state
        self.add(order_id, findings)

    def add(self, subject: str, findings: Sequence[Finding]) -> None:
        """Take in what was found about one subject."""
        for finding in findings:
            self.found[finding.state] += 1
            if self.found[finding.state] <= LISTED:
                self.listed[finding.state].append(Entry(subject, finding.state, finding.what))

    @property
    def differences(self) -> list[Entry]:
        """Findings that are lost, doubled or different."""
        return [entry for state in _WRONG for entry in self.listed[state]]

    @property
    def in_flight(self) -> list[Entry]:
        """Findings of orders that move on by themselves, with the next step."""
        return self.listed[State.IN_FLIGHT]

    @property
    def exit_code(self) -> int:
        """0: all is settled or in flight. 1: lost, different or waiting for a person. 2: a judgement stays open."""
        if any(self.found[state] for state in (*_WRONG, State.WAITING)):
            return 1
        return 2 if self.found[State.OPEN] or self.unread else 0

    @property
    def at_rest(self) -> bool:
        """Nothing is wrong, and nothing moves."""
        return self.exit_code == 0 and not self.found[State.IN_FLIGHT]


def confirmed(report: Report, before: Report) -> bool:
    """Whether everything that is wrong or open in a report was so in the one before.

    The books are read one after the other while orders move, and one of them may be away for a moment: what only one
    of two looks has seen was on its way.
    """
    return report.unread.keys() <= before.unread.keys() and all(
        set(report.listed[state]) <= set(before.listed[state]) for state in (*_WRONG, State.OPEN)
    )


def keep_confirmed(report: Report, before: Report) -> None:
    """Take what only this report has seen of wrong or open for what it was then: on its way."""
    moving: set[str] = set()
    for state in (*_WRONG, State.OPEN):
        known = set(before.listed[state])
        unconfirmed = [entry for entry in report.listed[state] if entry not in known]
        report.listed[state] = [entry for entry in report.listed[state] if entry in known]
        report.found[state] -= len(unconfirmed)
        for entry in unconfirmed:
            report.add(entry.subject, [in_flight(f"not confirmed by a second read: {entry.what}")])
            moving.add(entry.subject)
    worst = {entry.subject: state for state in State for entry in report.listed[state]}
    for order in moving & report.unsure.keys():
        report.orders[report.unsure[order]] -= 1
        report.orders[worst.get(order, State.IN_FLIGHT)] += 1


def as_dict(report: Report) -> dict[str, object]:
    """The report as JSON."""
    forgotten = {
        "mails": report.mails_forgotten,
        "mails_until": _moment(report.mails_forgotten_until),
        "webhooks_processed_before": _moment(report.webhooks_complete_since),
        "sales_of_orders": report.sales_not_compared,
    }
    return {
        "orders": report.orders.total(),
        "demo_orders": report.demo_orders,
        "verdicts": {state.value: report.orders[state] for state in State},
        "differences": [_entry(entry) for entry in report.differences],
        "waiting": [_entry(entry) for entry in report.listed[State.WAITING]],
        "open": [_entry(entry) for entry in report.listed[State.OPEN]],
        "in_flight": [_entry(entry) for entry in report.in_flight],
        "not_listed": sum(max(0, count - LISTED) for count in report.found.values()),
        "unread": dict(report.unread),
        "forgotten": forgotten,
        "exit_code": report.exit_code,
    }


def as_text(report: Report) -> str:
    """The report as text: verdicts, findings with the worst first, then unread books."""
    total = report.orders.total()
    counted = "1 order" if total == 1 else f"{total} orders"
    verdicts = [f"{report.orders[State.SETTLED]} settled"]
    verdicts += [f"{report.orders[state]} {title}" for state, title in _TITLES.items() if report.orders[state]]
    lines = [f"{counted}: {', '.join(verdicts)}"]
    for state, title in _TITLES.items():
        lines += [f"  {title}: {entry.subject}: {entry.what}" for entry in report.listed[state]]
        if report.found[state] > LISTED:
            lines.append(f"  {title}: {report.found[state] - LISTED} more")
    lines += [f"  could not be read: {book}: {why}" for book, why in report.unread.items()]
    if report.mails_forgotten:
        until = f"{report.mails_forgotten_until:%F %T}"
        lines.append(f"  deleted on purpose: {report.mails_forgotten} mails of {until} and before (SHOP_MAIL_KEEP)")
    if report.sales_not_compared:
        lines.append(
            f"  not compared: the sales of {report.sales_not_compared} orders, which the event log did not have in full"
        )
    if report.demo_orders:
        lines.append(f"  not judged: {report.demo_orders} demo orders, which only the orders service has")
    lines.append(_conclusion(report))
    return "\n".join(lines)


def _conclusion(report: Report) -> str:
    wrong = sum(report.found[state] for state in _WRONG)
    if wrong:
        return f"the books differ in {wrong} places"
    if report.found[State.WAITING]:
        return f"the books agree, but {report.found[State.WAITING]} dead letters or failures wait for a person"
    if report.exit_code:
        return "the books agree as far as they could be read; the rest cannot be judged"
    return "the books agree"


def _entry(entry: Entry) -> dict[str, str]:
    return {"subject": entry.subject, "state": entry.state.value, "what": entry.what}


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None

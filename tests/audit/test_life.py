"""An order through anything that may happen to it, in any order, and the audit's judgement at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.orders import domain
from shop.audit.findings import State, verdict
from tests.audit.life import Life

HAPPENINGS: dict[str, Callable[[Life], None]] = {
    "collect": lambda life: life.collect(fails=False),
    "collect in vain": lambda life: life.collect(fails=True),
    "cancel": Life.cancel,
    "cancel and undo": Life.cancel_and_undo,
    "expire": Life.expire,
    "sell out": lambda life: setattr(life, "in_stock", False),
}


class Lives(RuleBasedStateMachine):
    """An order is placed, processed, cancelled, paid, shipped and refunded, with faults and in any order."""

    life: Life

    @initialize(cents=st.sampled_from([8_900, 0]), quantity=st.integers(1, 3), begun=st.integers(0, 2))
    def place(self, cents: int, quantity: int, begun: int) -> None:
        """An order that is pending, confirmed, or paid (which one of nothing to pay is at once)."""
        self.life = Life.begin(1, Decimal(cents) / 100, quantity)
        if begun:
            self._deliver(0)
        if begun > 1 and cents:
            self.life.collect(fails=False)
            self.life.hear("payment_intent.succeeded")

    @precondition(lambda self: self.life.messages)
    @rule(which=st.integers(0, 2))
    def work(self, which: int) -> None:
        self._deliver(which)

    @precondition(lambda self: self.life.messages)
    @rule(which=st.integers(0, 2), failing=st.sampled_from(["before", "after"]), call=st.integers(1, 4))
    def work_while_something_is_away(self, which: int, failing: str, call: int) -> None:
        self.life.failing = failing, call
        self._deliver(which)

    @precondition(lambda self: self.life.messages)
    @rule(which=st.integers(0, 2), what=st.sampled_from(list(HAPPENINGS)), call=st.integers(1, 4))
    def work_while_something_happens(self, which: int, what: str, call: int) -> None:
        self.life.meanwhile = (lambda: HAPPENINGS[what](self.life)), call
        self._deliver(which)

    @precondition(lambda self: self.life.messages)
    @rule(which=st.integers(0, 2))
    def work_twice(self, which: int) -> None:
        self._deliver(which, twice=True)

    @rule(what=st.sampled_from(list(HAPPENINGS)))
    def happen(self, what: str) -> None:
        HAPPENINGS[what](self.life)

    @precondition(lambda self: self.life.webhooks)
    @rule(which=st.integers(0, 1))
    def hear(self, which: int) -> None:
        news = list(self.life.webhooks)
        self.life.hear(news[which % len(news)])

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        found = self.life.audit()
        assert verdict(found) in (State.SETTLED, State.IN_FLIGHT), (self.life, found)
        assert self.life.order.version == len(self.life.history)
        assert self.life.refunds <= 1

    def teardown(self) -> None:
        """Whatever has happened: without further faults the order comes to its end, and every book agrees."""
        asyncio.run(self.life.settle())
        assert self.life.audit() == [], self.life
        assert self.life.order.status.undone or self.life.order.status is domain.Status.SHIPPED

    def _deliver(self, which: int, *, twice: bool = False) -> None:
        messages = self.life.messages
        asyncio.run(self.life.deliver(messages[which % len(messages)], twice=twice))


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=12, deadline=None, derandomize=True)

"""An order through anything that may happen to it, in any order, and the audit's judgement at every moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from services.orders import domain
from shop.audit.findings import State
from shop.audit.judgement import verdict
from tests.audit.life import Life

NEWS = ("payment_intent.succeeded", "payment_intent.payment_failed")


class Lives(RuleBasedStateMachine):
    """Orders are placed, processed, cancelled, paid, shipped and refunded, with faults and in any order."""

    lives: Bundle[Life] = Bundle("lives")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Life] = []

    @rule(target=lives, cents=st.sampled_from([0, 1, 8_900]), quantity=st.integers(1, 3), in_stock=st.booleans())
    def place(self, cents: int, quantity: int, *, in_stock: bool) -> object:
        if len(self.all) == 3:
            return multiple()
        life = Life.begin(len(self.all), Decimal(cents) / 100, quantity)
        life.in_stock = in_stock or cents == 0
        self.all.append(life)
        return life

    @rule(
        life=lives, which=st.integers(0, 5), failing=st.sampled_from(["", "", "before", "after"]), twice=st.booleans()
    )
    def deliver(self, life: Life, which: int, failing: str, *, twice: bool) -> None:
        if life.messages:
            life.failing = failing
            asyncio.run(life.deliver(life.messages[which % len(life.messages)], twice=twice))

    @rule(life=lives, what=st.sampled_from(["cancel", "collect", "collect in vain", "expire"]))
    def happen_meanwhile(self, life: Life, what: str) -> None:
        life.meanwhile = self._happening(life, what)

    @rule(life=lives, what=st.sampled_from(["cancel", "collect", "collect in vain", "expire"]))
    def happen(self, life: Life, what: str) -> None:
        self._happening(life, what)()

    @rule(life=lives, kind=st.sampled_from(NEWS))
    def hear(self, life: Life, kind: str) -> None:
        if kind in life.webhooks:
            life.hear(kind)

    @rule(life=lives)
    def sell_out(self, life: Life) -> None:
        life.in_stock = False

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        for life in self.all:
            found = life.audit()
            assert verdict(found) in (State.SETTLED, State.IN_FLIGHT), (life, found)
            numbers = [event.sequence for event in life.history]
            assert life.order.version == len(numbers)
            assert life.refunds <= 1

    def teardown(self) -> None:
        """Whatever has happened: without further faults each order comes to its end, and every book agrees."""
        for life in self.all:
            asyncio.run(life.settle())
            assert life.audit() == [], life
            assert life.order.status.undone or life.order.status is domain.Status.SHIPPED

    @staticmethod
    def _happening(life: Life, what: str) -> Callable[[], None]:
        happenings: dict[str, Callable[[], None]] = {
            "cancel": life.cancel,
            "collect": lambda: life.collect(fails=False),
            "collect in vain": lambda: life.collect(fails=True),
            "expire": life.expire,
        }
        return happenings[what]


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

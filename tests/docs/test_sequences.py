"""`docs/sequences.md`: drawn anew from a fresh shop's traces, participants and arrows are the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.shop import shop_in_one_loop
from tools.docs import sequences
from tools.docs.sequence_diagram import Hop, diagram


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_fresh_run_draws_the_same(tmp_path: Path) -> None:
    """Placed, rejected, cancelled, a webhook twice, the ERP away: each has the participants and arrows of the page."""
    async with shop_in_one_loop(tmp_path, {"SHOP_REQUEST_BUDGET": "60", "SHOP_PAYMENT_DELAY": "5"}) as shop:
        env = {**shop.around.shared, "SHOP_DATA_DIR": str(tmp_path)}
        text = await asyncio.to_thread(lambda: sequences.document(sequences.Driver(env)))
    # Line by line, so that a failure names the first that differs.
    assert text.splitlines() == sequences.DOCUMENT.read_text().splitlines()


def hop(
    number: int, parent: int | None, origin: str, target: str, operation: str, queue: str = "", error: str = ""
) -> Hop:
    """A hop that began at its number."""
    above = "" if parent is None else str(parent)
    return Hop(str(number), above, number, "queue" if queue else "gRPC", origin, target, operation, queue, error)


ORDER = [
    hop(1, None, "client", "a", "x.v1.A/Place"),
    hop(2, 1, "a", "b", "placed", "q-b"),
    hop(2, 1, "a", "c", "placed", "q-c"),
    hop(3, 2, "b", "d", "x.v1.D/Reserve", error="AWAY: it is"),
    hop(4, 1, "a", "e", "x.v1.E/Look"),
    hop(5, 2, "b", "d", "x.v1.D/Reserve"),
    hop(6, 2, "c", "f", "x.v1.F/Tell"),
]


def test_calls_come_before_what_they_set_off() -> None:
    """Calls follow each other; messages come after them, each with its own continuation; a repeat is drawn once."""
    arrows = [line.strip() for line in diagram([ORDER]).splitlines() if ":" in line]
    assert arrows == [
        "client->>a: gRPC Place",
        "a->>e: gRPC Look",
        "a-)b: q-b: placed",
        "b->>d: gRPC Reserve (fails: AWAY)",
        "a-)c: q-c: placed",
        "c->>f: gRPC Tell",
    ]


def test_the_order_of_arrival_makes_no_difference() -> None:
    """The same hops, in any order, draw the same."""
    drawn = diagram([ORDER])
    for start in range(len(ORDER)):
        assert diagram([[*ORDER[start:], *ORDER[:start]]]) == drawn
    assert diagram([ORDER[::-1]]) == drawn


@pytest.mark.parametrize("publisher", ["orders", "order_worker"])
def test_a_message_comes_from_the_process_that_wrote_its_event(publisher: str) -> None:
    """Either process of one outbox may publish it, and its handling may fail."""
    trace = [
        hop(1, None, "webhook_worker", "orders", "x.v1.Orders/MarkPaid"),
        hop(2, 1, publisher, "order_worker", "order.paid", "order-fulfilment", error="AWAY: it is"),
        hop(2, 1, publisher, "mailer", "order.paid", "order-mail"),
        hop(3, 2, publisher, "mailer", "order.shipped", "order-mail"),
    ]
    arrows = [line.strip() for line in diagram([trace]).splitlines() if "-)" in line]
    assert arrows == [
        "orders-)order_worker: order-fulfilment: order.paid (fails: AWAY)",
        "orders-)mailer: order-mail: order.paid",
        "order_worker-)mailer: order-mail: order.shipped",
    ]

"""What `make soak` judges by: tables that may grow, answers that nothing explains, and what listeners have received."""

from __future__ import annotations

from collections import Counter

from bench.soak.clients import Crowd, Tally, internal_errors
from bench.soak.run import growing, settled, stated
from tests.contract.test_retention import SCRIPTS, STATED


def test_only_tables_without_a_stated_retention_may_not_grow() -> None:
    """By the tables' own statements."""
    known = stated()
    assert {"orders", "outbox", "inbox", "webhooks"} <= known
    before, after = {"orders.orders": 1, "mailer.drafts": 0, "orders.gone": 9}, {"orders.orders": 5, "mailer.drafts": 1}
    assert growing(before, after, known) == ["mailer.drafts"]
    assert growing(after, after, known) == []


def test_a_soak_knows_every_statement() -> None:
    """Those that the contract suite compares with the tables that exist."""
    statements = [*STATED.values(), *(kept for _, kept in SCRIPTS.values())]
    assert stated() == {table for each in statements for table in each}


def test_an_internal_error_is_counted_whatever_was_killed() -> None:
    """Unlike a refusal, which a kill explains."""
    tally = Tally(failures=Counter({"503": 4, "500": 2}))
    assert internal_errors([tally, Tally()]) == 2


def test_an_operation_that_failed_is_charged_the_longest_time() -> None:
    """It is in the percentiles, and it does not count as done."""
    tally = Tally()
    tally.took(0.001)
    tally.failed("TimeoutError")
    assert (tally.done, tally.failures["TimeoutError"]) == (1, 1)
    assert tally.latencies.get_value_at_percentile(100) >= 119_000_000


def test_news_that_overtakes_its_orders_answer_is_counted() -> None:
    """From when the order was due, as all other news."""
    crowd = Crowd("http://gateway", "http://notifier", "http://webhooks", "secret", seed=1)
    crowd.received_news("websocket", "a", at=4.25)
    assert not crowd.tallies["websocket"].done
    crowd.accept("a", due=4.0)
    crowd.received_news("sse", "a", at=4.5)
    found = [round(crowd.tallies[name].latencies.get_max_value() / 1e6, 2) for name in ("websocket", "sse")]
    assert found == [0.25, 0.5]


def test_a_listener_has_missed_what_it_has_not_received() -> None:
    """And has received twice what came twice under one id."""
    crowd = Crowd("http://gateway", "http://notifier", "http://webhooks", "secret", seed=1)
    crowd.accepted = {"a": 1.0, "b": 2.0}
    crowd.received = [("websocket", Counter({"7": 2, "8": 1}), {"a"}), ("sse", Counter({"7": 1}), {"a", "b"})]
    assert (crowd.missed(), crowd.twice()) == (1, 1)


def test_a_process_killed_a_moment_ago_neither_hides_growth_nor_feigns_it() -> None:
    """Its median counts, whether it was away or had just begun anew."""
    looks = [{"orders": 30.0, "users": 20.0}, {"orders": 30.0}, {"orders": 30.0, "users": 20.0}]
    assert settled(looks, 0, 3) == 50.0
    assert settled([*looks, {"orders": 40.0, "users": 3.0}, *looks[:2]], 3, 6) == 41.5

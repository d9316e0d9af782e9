"""The suite's lanes: each scenario runs in one of them, and none of them takes much longer than the others."""

from __future__ import annotations

from shop.fault.scenarios.scenario import suite
from tests.faults import suite as runner


def test_lanes_share_the_scenarios_out() -> None:
    """Each scenario once; those on servers in one lane, which alone starts a shop there; about as long each."""
    known = suite()
    for lanes in (2, 3):
        shares = runner._shared_out(list(known.values()), lanes)
        assert sorted(name for share in shares for name in share) == sorted(known)
        served = [any(runner._SERVED & set(known[name].needs) for name in share) for share in shares]
        assert served.count(True) == 1
        seconds = [sum(runner._expected(known[name]) for name in share) for share in shares]
        assert max(seconds) - min(seconds) < 30


def test_a_lane_for_nothing_is_none() -> None:
    """One scenario needs one lane."""
    assert runner._shared_out([suite()["kill-orders"]], 2) == [["kill-orders"]]

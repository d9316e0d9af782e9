"""Restart delays."""

from __future__ import annotations

MIN_DELAY = 0.1
MAX_DELAY = 10.0
HEALTHY_AFTER = 10.0


def next_delay(previous: float, healthy_for: float) -> float:
    """Seconds to wait, given the wait before the last start (0 if none) and for how long it was ready.

    Doubles from 0.1 s to 10 s; ten seconds of health clear the account.
    """
    if previous == 0 or healthy_for >= HEALTHY_AFTER:
        return MIN_DELAY
    return min(previous * 2, MAX_DELAY)

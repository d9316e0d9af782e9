"""Deadlines that travel with calls, and circuit breakers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline_in(seconds: float | None) -> Iterator[None]:
    """Give everything in the block at most this long, and never longer than the caller had already."""
    if seconds is None:
        yield
        return
    inherited = _deadline.get()
    own = time.monotonic() + seconds
    token = _deadline.set(own if inherited is None else min(own, inherited))
    try:
        yield
    finally:
        _deadline.reset(token)


def begin_deadline(seconds: float | None) -> None:
    """The same to the end of the current task: for callers that begin one task per call, in which none is inherited."""
    if seconds is not None:
        _deadline.set(time.monotonic() + seconds)


@contextmanager
def without_deadline() -> Iterator[None]:
    """Let the block take its time: for work that one caller begins and others wait for as well."""
    token = _deadline.set(None)
    try:
        yield
    finally:
        _deadline.reset(token)


def time_left() -> float | None:
    """Seconds until the current deadline, at least 0; None when there is none."""
    deadline = _deadline.get()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


# Seconds that an upstream must have had before it counts against it that it has not answered: what a client has left
# after it was slow itself must not close an upstream to every caller.
FAIR_CHANCE = 0.1


class CircuitBreaker:
    """Stops calling an upstream that keeps failing, and lets one call through now and then as a probe.

    Closed until `threshold` failures in a row; then open for `recovery` seconds; then one trial call decides.
    """

    def __init__(
        self, *, threshold: int = 8, recovery: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._threshold = threshold
        self._recovery = recovery
        self._clock = clock
        self._failures = 0
        self._opened_at = 0.0

    @property
    def open(self) -> bool:
        """Whether calls are being refused."""
        return self._failures >= self._threshold

    def allows_call(self) -> bool:
        """Whether a call may be made. In the open state, True once per recovery period: that call is the trial."""
        if not self.open:
            return True
        if self._clock() - self._opened_at < self._recovery:
            return False
        self._opened_at = self._clock()
        return True

    def retry_after(self) -> float:
        """Seconds until the next trial."""
        return max(0.0, self._recovery - (self._clock() - self._opened_at))

    def succeeded(self) -> None:
        """Record an answer of the upstream, even a refusal."""
        self._failures = 0

    def failed(self) -> None:
        """Record that the upstream has not answered."""
        self._failures += 1
        if self._failures == self._threshold:
            self._opened_at = self._clock()

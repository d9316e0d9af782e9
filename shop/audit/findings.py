"""The audit's findings on an order, and their severity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """States from the best to the worst; the worst finding is an order's state."""

    SETTLED = "settled"
    IN_FLIGHT = "in_flight"
    OPEN = "open"
    WAITING = "waiting"
    DIFFERENT = "different"
    LOST = "lost"


RANK = {state: rank for rank, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is the difference between the books, the next step of the order, or the reason why there is none."""

    state: State
    what: str


def different(what: str) -> Finding:
    """A record that is altered, doubled or foreign."""
    return Finding(State.DIFFERENT, what)


def lost(what: str) -> Finding:
    """A record or step that is missing, and nothing will bring it."""
    return Finding(State.LOST, what)


def in_flight(what: str) -> Finding:
    """A known next step."""
    return Finding(State.IN_FLIGHT, what)


def undecided(what: str) -> Finding:
    """The deciding record could not be read, or was deleted on purpose."""
    return Finding(State.OPEN, what)


def waiting(what: str) -> Finding:
    """A dead letter: nothing happens before a person replays or drops it."""
    return Finding(State.WAITING, what)


def verdict(findings: Sequence[Finding]) -> State:
    """The worst of them."""
    return max((finding.state for finding in findings), key=RANK.__getitem__, default=State.SETTLED)

"""Toxics: what can be done to the connections of a link."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class Kind(StrEnum):
    """A fault of a direction's bytes, or of its connections."""

    # Every chunk arrives that much later (seconds), give or take the jitter; the order stays.
    DELAY = "delay"
    JITTER = "jitter"
    # Bytes a second.
    RATE = "rate"
    # After that many bytes both ends are reset, wherever in a frame that is.
    CUT = "cut"
    # Both ends are reset: at once, and each new connection as soon as bytes cross in the direction.
    RESET = "reset"
    # Nothing passes, not even the end of a connection; it passes when the toxic goes, as after a lost route.
    BLACK_HOLE = "black-hole"
    # The far end is gone without a word: bytes vanish, nothing answers; reset when the toxic goes.
    HALF_OPEN = "half-open"
    # The port is closed; connections that were open are reset.
    REFUSE = "refuse"
    # AMQP: as RabbitMQ does under an alarm, nothing more is taken of a connection that publishes.
    ALARM = "alarm"


class Direction(StrEnum):
    """REQUEST goes from who connects to who listens, ANSWER back."""

    REQUEST = "request"
    ANSWER = "answer"
    BOTH = "both"


_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "b": 1.0, "kb": 1024.0, "mb": 1024.0 * 1024}
_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|b|kb|mb)?(?:/s)?", re.IGNORECASE)
_WITH_AMOUNT = {Kind.DELAY: "50ms", Kind.JITTER: "20ms", Kind.RATE: "10kb/s", Kind.CUT: "9"}
_MAX_SECONDS = 600.0
# These end or silence the whole connection.
_WHOLE = (Kind.HALF_OPEN, Kind.REFUSE, Kind.ALARM)


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic. `amount` is seconds, bytes or bytes a second, by its kind.

    `probability` is a connection's: it is drawn once for each, from the `seed`; at 0 none is touched.
    """

    kind: Kind
    amount: float = 0.0
    direction: Direction = Direction.BOTH
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise `ValueError` for what makes no sense."""
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability={self.probability:g} must be from 0 to 1")
        if self.kind is Kind.RATE and self.amount < 1:
            raise ValueError("rate must be at least 1 byte a second; for nothing at all use black-hole")
        if self.kind in (Kind.DELAY, Kind.JITTER) and self.amount > _MAX_SECONDS:
            raise ValueError(f"{self.kind} must be at most {_MAX_SECONDS:g} s")
        if self.kind in _WHOLE and self.direction is not Direction.BOTH:
            raise ValueError(f"{self.kind} concerns the whole connection: leave out direction={self.direction}")
        if self.kind is Kind.REFUSE and self.probability < 1:
            raise ValueError("a port is closed for all: leave out probability, or use reset")

    def concerns(self, connection: int, direction: Direction) -> bool:
        """Whether it works on a direction of the connection with this number."""
        if self.direction not in (Direction.BOTH, direction):
            return False
        return self.probability >= 1 or _draw(self.seed, connection) < self.probability

    def as_dict(self) -> dict[str, Any]:
        """The toxic in a form for JSON."""
        return {
            "kind": self.kind.value,
            "amount": self.amount,
            "direction": self.direction.value,
            "probability": self.probability,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """The reverse. Raises `ValueError`."""
        unknown = content.keys() - {"kind", "amount", "direction", "probability", "seed"}
        if unknown or "kind" not in content:
            raise ValueError(f"a toxic has a kind, and no {', '.join(sorted(unknown)) or 'other member'}")
        try:
            return cls(
                Kind(content["kind"]),
                float(content.get("amount", 0)),
                Direction(content.get("direction", "both")),
                float(content.get("probability", 1)),
                int(content.get("seed", 0)),
            )
        except TypeError as error:
            raise ValueError(f"amount, probability and seed of a toxic are numbers: {error}") from error


def parse(words: Iterable[str]) -> tuple[Toxic, ...]:
    """The toxics of `delay=50ms jitter=20ms direction=answer probability=0.5 seed=7`, in the order given.

    Raises `ValueError` with what to write instead.
    """
    amounts: dict[Kind, float] = {}
    options: dict[str, str] = {}
    for word in words:
        name, given, value = word.partition("=")
        if name in ("direction", "probability", "seed"):
            options[name] = value
        elif name not in Kind.__members__.values():
            raise ValueError(f"unknown toxic {name}; known: {', '.join(Kind)}, with direction=, probability= and seed=")
        elif (Kind(name) in _WITH_AMOUNT) != bool(given):
            example = _WITH_AMOUNT.get(Kind(name))
            raise ValueError(f"{name} needs an amount, such as {name}={example}" if example else f"write only {name}")
        else:
            amounts[Kind(name)] = _number(value) if given else 0.0
    if not amounts:
        raise ValueError(f"name a fault for the link: {', '.join(Kind)}")
    direction = _direction(options.get("direction", "both"))
    probability, seed = _number(options.get("probability", "1")), int(_number(options.get("seed", "0")))
    return tuple(Toxic(kind, amount, direction, probability, seed) for kind, amount in amounts.items())


def _direction(word: str) -> Direction:
    if word not in Direction.__members__.values():
        raise ValueError(f"direction={word} must be request, answer or both")
    return Direction(word)


def _number(text: str) -> float:
    """Seconds, bytes or a plain number."""
    found = _NUMBER.fullmatch(text)
    if not found:
        raise ValueError(f"{text} is not an amount: write one such as 50ms, 2s, 9, 10kb/s or 0.5")
    return float(found[1]) * _UNITS[(found[2] or "").lower()]


def _draw(seed: int, connection: int) -> float:
    return random.Random(f"{seed}/{connection}").random()  # noqa: S311  # nosec B311 # a repeatable draw, no secret

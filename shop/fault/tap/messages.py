"""What a reader of a protocol makes of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chassis.observability.capture.masking import masked_value

MAX_FIELDS = 60
MAX_VALUE = 300


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame, a message's head or a line: what it is, its size on the link in bytes, and the fields of its head."""

    what: str
    size: int
    fields: tuple[tuple[str, str], ...] = ()
    traceparent: str = ""


class Reader(Protocol):
    """Reads one direction of a connection."""

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """The frames that are complete now. Raises `ValueError` for what is not of this protocol."""


def frame(what: str, size: int, fields: Sequence[tuple[str, str]] = ()) -> Frame:
    """A frame whose head is shown without secrets."""
    traceparent = next((value for name, value in fields if name.lower().endswith("traceparent")), "")
    shown = tuple((name, masked_value(name, value)[:MAX_VALUE]) for name, value in fields[:MAX_FIELDS])
    return Frame(what, size, shown, traceparent)

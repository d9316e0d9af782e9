"""Messages that a protocol's reader parses from bytes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from chassis.observability.capture.masking import masked, masked_value
from chassis.observability.capture.messages import KEPT_BYTES, LOOKED_AT_BYTES

MAX_FIELDS = 60
MAX_VALUE = 300


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame's bytes from `start` up to `end`, with their name and their value."""

    name: str
    start: int
    end: int
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame, a message's head or a line: what it is, its size on the link in bytes, and the fields of its head.

    `stream` ties frames of a connection together: a stream, an exchange, a message. `content` is the frame's beginning
    without secrets, empty where it is only counted; `pieces` are its parts where only the tap can decode them (HPACK).
    """

    what: str
    size: int
    fields: tuple[tuple[str, str], ...] = ()
    traceparent: str = ""
    stream: str = ""
    content: bytes = b""
    pieces: tuple[Piece, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The message in a form for JSON."""
        found = asdict(self)
        return {**found, "content": b64encode(self.content).decode()}


class Reader(Protocol):
    """Reads one direction of a connection."""

    def feed(self, chunk: bytes) -> Sequence[Frame]:
        """The frames that are complete now. Raises `ValueError` for what is not of this protocol."""


def frame(
    what: str,
    size: int,
    fields: Sequence[tuple[str, str]] = (),
    *,
    stream: str = "",
    content: bytes = b"",
    pieces: Sequence[Piece] = (),
) -> Frame:
    """A frame whose head and content are shown without secrets."""
    traceparent = next((value for name, value in fields if name.lower().endswith("traceparent")), "")
    shown = tuple((name, masked_value(name, value)[:MAX_VALUE]) for name, value in fields[:MAX_FIELDS])
    # A secret on the edge of what is kept is seen whole.
    kept = masked(content[:LOOKED_AT_BYTES])[:KEPT_BYTES]
    return Frame(masked(what.encode()).decode(), size, shown, traceparent, stream, kept, tuple(pieces))

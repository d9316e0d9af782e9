"""The latest frames that crossed a watched link, with the connection, the direction and the time of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shop.fault.links.toxics import Direction
from shop.fault.tap import amqp, http1, http2
from shop.fault.tap.amqp import Amqp
from shop.fault.tap.http1 import Http1
from shop.fault.tap.http2 import Http2
from shop.fault.tap.messages import Frame, Reader, frame
from shop.fault.tap.smtp import Smtp

MAX_FRAMES = 2_000
# Of the frames' contents, on one link.
MAX_BYTES = 2 << 20
MAX_SECONDS = 3_600.0
_MAX_CONNECTIONS = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame on its way: `at` is seconds since the epoch, `protocol` what its connection speaks."""

    connection: int
    direction: Direction
    at: float
    protocol: str
    frame: Frame

    def as_dict(self) -> dict[str, Any]:
        """The captured frame in a form for JSON."""
        return {
            "connection": self.connection,
            "direction": self.direction.value,
            "at": self.at,
            "protocol": self.protocol,
            **self.frame.as_dict(),
        }


class Tap:
    """Watches one link for some seconds; keeps the latest frames of connections that it saw from their first byte."""

    def __init__(self, protocol: str, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """`protocol` is the link's. Raises `ValueError` for a time that is no time."""
        self._protocol, self._clock = protocol, clock
        self.last(seconds)
        self._frames: deque[Seen] = deque()
        self._bytes = 0
        self._readers: dict[int, _Connection] = {}

    @property
    def watching(self) -> bool:
        """Whether its time is not over."""
        return self._clock() < self.until

    def last(self, seconds: float) -> None:
        """Watch for so many seconds from now on, whatever was left. Raises `ValueError`."""
        if not 0 < seconds <= MAX_SECONDS:
            raise ValueError(f"a link is watched for up to {MAX_SECONDS:g} s")
        self.until = self._clock() + seconds

    def forget(self) -> None:
        """Drop what was seen so far, of connections that could not be read from their first byte."""
        self._frames.clear()
        self._bytes = 0

    def saw(self, connection: int, direction: Direction, chunk: bytes) -> None:
        """Take what was passed on."""
        if not self.watching:
            return
        reader = self._readers.get(connection)
        if reader is None:
            reader = self._readers[connection] = _Connection(self._protocol)
            if len(self._readers) > _MAX_CONNECTIONS:
                del self._readers[next(iter(self._readers))]
        now = self._clock()
        for made in reader.feed(direction, chunk):
            self._keep(Seen(connection, direction, now, reader.protocol, made))

    def _keep(self, seen: Seen) -> None:
        self._frames.append(seen)
        self._bytes += len(seen.frame.content)
        while len(self._frames) > MAX_FRAMES or self._bytes > MAX_BYTES:
            self._bytes -= len(self._frames.popleft().frame.content)

    def seen(self, trace: str = "") -> list[Seen]:
        """The frames; with a trace's id, those of the connections and streams around a `traceparent` of it."""
        frames = list(self._frames)
        if not trace:
            return frames
        named = {(each.connection, each.frame.stream) for each in frames if trace in each.frame.traceparent}
        return [each for each in frames if (each.connection, each.frame.stream) in named]


class _Connection:
    """Both directions of a connection, and what they speak once that is clear."""

    def __init__(self, expected: str) -> None:
        self.protocol = ""
        self._expected = expected
        self._readers: dict[Direction, Reader] = {}
        self._upgraded = [False]
        # Of HTTP/1.1.
        self._unanswered: deque[str] = deque()
        # Bytes that are in no frame yet.
        self._waiting = dict.fromkeys(Direction, 0)

    def feed(self, direction: Direction, chunk: bytes) -> list[Frame]:
        if not self.protocol:
            self._recognise(direction, chunk)
        self._waiting[direction] += len(chunk)
        found = self._frames(direction, chunk)
        self._waiting[direction] -= sum(each.size for each in found)
        return found

    def _frames(self, direction: Direction, chunk: bytes) -> list[Frame]:
        reader, waiting = self._readers.get(direction), self._waiting[direction]
        if reader is None:
            return [frame(f"{waiting} bytes", waiting)]
        try:
            return list(reader.feed(chunk))
        except ValueError as error:
            # What cannot be read is counted from here on, with what waited for its frame's end.
            self._readers.clear()
            return [frame(f"{waiting} bytes ({error})", waiting)]

    def _recognise(self, direction: Direction, chunk: bytes) -> None:
        both = (Direction.REQUEST, Direction.ANSWER)
        if chunk.startswith(http2.PREFACE[:14]) or (direction is Direction.ANSWER and chunk[3:5] == b"\x04\x00"):
            self.protocol = "HTTP/2"
            self._readers = {way: Http2(client=way is Direction.REQUEST) for way in both}
        elif chunk.startswith(amqp.PREFACE) or self._expected == "AMQP":
            self.protocol = "AMQP"
            self._readers = {way: Amqp() for way in both}
        elif direction is Direction.REQUEST and chunk.startswith(http1.METHODS):
            self.protocol = "HTTP/1.1"
            self._readers = {way: Http1(self._upgraded, self._unanswered) for way in both}
        elif self._expected == "WebSocket" and chunk[:1] in http1.FIRST_BYTES:
            # It was upgraded before it was watched; a frame seldom begins elsewhere than a chunk.
            self.protocol, self._upgraded = "HTTP/1.1", [True]
            self._readers = {way: Http1(self._upgraded, self._unanswered) for way in both}
        elif self._expected == "SMTP":
            self.protocol = "SMTP"
            self._readers = {way: Smtp(client=way is Direction.REQUEST) for way in both}
        else:
            self.protocol = "bytes"

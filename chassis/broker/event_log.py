"""The event log port: every event, retained for a while, to be read by any number of readers from any position.

Three adapters keep these promises, and one suite (`tests/contract/test_event_log.py`) holds them to it: `embedded`
(SQLite) and `rabbitmq` (a stream), which have one partition, and `kafka`, which has as many as its topic.

* `append` returns once every event is durable. An event may be there twice when its writer died or tried again.
* All events about one subject are in one partition, in the order in which they were appended.
* A position is how far each partition was read. It is good for every reader of the log, in any process.
* What retention has passed is never skipped in silence: the reader gets `PositionExpired`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import zip_longest
from typing import NamedTuple, Protocol

from chassis.broker.event import Event

# A position goes with every event to every client, and comes back in a header: so its text is bounded.
MAX_POSITION_LENGTH = 2_048
_POSITION = re.compile(r"(k?)([0-9]{1,18}(?:\.[0-9]{1,18})*)")


class InvalidPosition(ValueError):
    """A text that no log has given out as a position."""


class Position(NamedTuple):
    """A reader's place in a log: for each partition, the number of its newest entry that was read; 0 for none.

    Entries are numbered from 1. A partition that is not named was not read at all: it may have been added since.
    `log` names the kind of log: a position of one kind is invalid in another. The text form is opaque
    to clients; of a log with one partition it is the entry's number.
    """

    offsets: tuple[int, ...] = ()
    log: str = ""

    @classmethod
    def at(cls, offset: int) -> Position:
        """The position in a log of one partition."""
        return cls((offset,) if offset else ())

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position with this text. Raises `InvalidPosition`."""
        found = _POSITION.fullmatch(text) if len(text) <= MAX_POSITION_LENGTH else None
        if found is None:
            raise InvalidPosition("invalid position of an event log")
        log, offsets = found[1], tuple(int(number) for number in found[2].split("."))
        return cls(offsets if log or offsets != (0,) else (), log)

    def __str__(self) -> str:
        return self.log + (".".join(map(str, self.offsets)) or "0")

    @property
    def is_start(self) -> bool:
        """Whether it is before everything, in any log."""
        return not self.offsets

    def offset(self, partition: int) -> int:
        """Number of the newest entry of a partition that was read."""
        return self.offsets[partition] if partition < len(self.offsets) else 0

    def includes(self, other: Position) -> bool:
        """Whether everything up to the other position was read, too."""
        return self._comparable(other) and all(mine >= theirs for mine, theirs in self._pairs(other))

    def has(self, partition: int, offset: int) -> bool:
        """Whether an entry was read."""
        return offset <= self.offset(partition)

    def advanced(self, partition: int, offset: int) -> Position:
        """The position once an entry was read, too."""
        offsets = [*self.offsets]
        if partition >= len(offsets):
            offsets += [0] * (partition + 1 - len(offsets))
        offsets[partition] = max(offset, offsets[partition])
        return Position(tuple(offsets), self.log)

    def union(self, other: Position) -> Position:
        """The position of a reader that has read up to both. Raises `ValueError` for positions of different logs."""
        return Position(tuple(map(max, self._pairs(other))), self.log or other.log)

    def intersection(self, other: Position) -> Position:
        """The position up to which both have read. Raises `ValueError` for positions of different logs."""
        return Position(tuple(map(min, self._pairs(other))), self.log or other.log)

    def in_one_partition(self) -> int:
        """The entry's number, in a log of one partition. Raises `PositionExpired` for another kind of log's."""
        if self.log or len(self.offsets) > 1:
            raise PositionExpired(f"{self} is not a position of this log")
        return self.offset(0)

    def distance(self, later: Position) -> int:
        """The number of entries between this position and a later one, or more where numbers have gaps."""
        return sum(max(0, theirs - mine) for mine, theirs in self._pairs(later))

    def rewound(self, entries: int) -> Position:
        """A position so many entries earlier in each partition."""
        return Position(tuple(max(0, offset - entries) for offset in self.offsets), self.log)

    def _comparable(self, other: Position) -> bool:
        return self.log == other.log or self.is_start or other.is_start

    def _pairs(self, other: Position) -> Iterator[tuple[int, int]]:
        if not self._comparable(other):
            raise ValueError(f"{self} and {other} are positions of different logs")
        return zip_longest(self.offsets, other.offsets, fillvalue=0)


START = Position()
"""Before everything: a reader that begins here gets all that is retained."""


class LogEntry(NamedTuple):
    """An event in the log, and the position of a reader that has read it and everything before it."""

    position: Position
    event: Event
    partition: int = 0

    @property
    def offset(self) -> int:
        """The entry's number in its partition."""
        return self.position.offsets[self.partition]


class PositionExpired(Exception):
    """The log does not hold the entries right after a position: retention has passed it, or the log began anew.

    `partition` is where that is so; None where it is not known, or the whole position is another log's.
    """

    def __init__(self, reason: str, *, partition: int | None = None) -> None:
        super().__init__(reason)
        self.partition = partition


class LogReader(Protocol):
    """Reads the log, entry by entry. Raises `PositionExpired` when it cannot go on from what it has read."""

    trouble: str
    """The reason why nothing can be read now; empty while it can."""

    @property
    def position(self) -> Position:
        """The place up to which the log was read; in Kafka also past what is no event, such as a transaction's end."""

    def __aiter__(self) -> LogReader: ...

    async def __anext__(self) -> LogEntry: ...


class EventLog(Protocol):
    system: str
    """`messaging.system` of the OpenTelemetry semantic conventions: "embedded", "rabbitmq" or "kafka"."""

    async def append(self, events: Sequence[Event]) -> None:
        """Make the events durable, those of one subject in this order.

        Raises `BrokerUnavailable`; then any of them may be in the log or not.
        """

    def tail(
        self, after: Position | None = None, *, upto: Position | None = None
    ) -> AbstractAsyncContextManager[LogReader]:
        """Read the log after a position (`START`: all that is retained; None: only new entries), then live.

        With `upto`, which the log has reached, only entries up to there are read, and then the iteration ends.
        Raises `PositionExpired` on entering. The iterator survives a lost connection without a gap or a repeat, and
        raises `PositionExpired` when the log that is there afterwards ends before what was read.
        """

    def read_partitions(self, after: Mapping[int, int]) -> AbstractAsyncContextManager[LogReader]:
        """Read these partitions and no others, then live: a consumer group's share of the log.

        `after` has, for each, the number of its newest entry that was read; 0 for all that is retained of it. Else as
        `tail`, but that partitions which are added are left to the caller.
        """

    async def last_position(self) -> Position:
        """The end of the log now; everything appended before is up to there."""

    async def partitions(self) -> int:
        """The number of partitions, which may grow."""

    async def healthy(self) -> bool:
        """Whether the log can be reached now."""

    async def close(self) -> None:
        """Give up every connection; readers end."""

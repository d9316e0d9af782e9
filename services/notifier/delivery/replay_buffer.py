"""Replay buffer: the newest part of the event log, in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from chassis.broker.event_log import START, Position
from services.notifier.frames import Notice


class Repeats:
    """Recognises an event that the log has twice: its writer failed, or tried again, before it noted the append.

    A repeat follows its original closely. One of an event from further back than `kept` is taken for a new event.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._ids: dict[str, None] = {}

    def has(self, event_id: str) -> bool:
        """Whether the event was there before; it is remembered."""
        if event_id in self._ids:
            return True
        self._ids[event_id] = None
        if len(self._ids) > self._kept:
            del self._ids[next(iter(self._ids))]
        return False


class ReplayBuffer:
    """Everything that the log has after `start`, up to `end`; at most so many events, and bytes of their data.

    The notices are in the order in which this copy has read them, so each one's position includes the one before it.
    A client may come from a copy that has read the log's partitions in another order.
    """

    def __init__(self, *, events: int, size: int) -> None:
        self.start = START
        self.end = START
        self._events = events
        self._limit = size
        self._size = 0
        self._notices: list[Notice] = []
        # A position back to which there turned out to be no room.
        self._no_room: Position | None = None

    def begin(self, position: Position) -> None:
        """Forget everything, and go on after a position."""
        self._notices, self._size, self._no_room = [], 0, None
        self.start = self.end = position

    def append(self, notice: Notice) -> None:
        """Add the newest event; the oldest go when there are too many."""
        self._notices.append(notice)
        self._size += notice.size
        self.end = notice.position
        if len(self._notices) > self._events or self._size > self._limit:
            self._forget()

    def skip(self, position: Position) -> None:
        """Go on after an entry that clients do not get."""
        self.end = position

    def may_reach(self, after: Position) -> bool:
        """Whether the notices after an earlier position may still find room; positions have gaps, but no repeats."""
        if self.covers(after) or (self._no_room is not None and self._no_room.includes(after)):
            return False
        return len(self._notices) + after.distance(self.start) <= self._events

    def prepend(self, after: Position, earlier: Sequence[Notice], *, whole: bool = True) -> None:
        """Add everything between an earlier position and `start`, if it is whole and there is room for it."""
        size = sum(notice.size for notice in earlier)
        if not whole or len(self._notices) + len(earlier) > self._events or self._size + size > self._limit:
            self._no_room = after
            return
        self._notices[:0] = earlier
        self._size += size
        self.start = after

    def covers(self, after: Position) -> bool:
        """Whether everything after a position is here."""
        return after.includes(self.start)

    def read(self, after: Position, limit: int) -> tuple[list[Notice], Position]:
        """The first events after a position that is covered, and the position up to which that is all."""
        found: list[Notice] = []
        first = bisect_left(self._notices, True, key=lambda notice: not after.includes(notice.position))
        for index in range(first, len(self._notices)):
            notice = self._notices[index]
            if not after.has(notice.partition, notice.offset):
                found.append(notice)
                if len(found) == limit:
                    return found, after.union(notice.position)
        return found, after.union(self.end)

    def _forget(self) -> None:
        """Drop a quarter at once: moving the rest for every event would cost more than the event."""
        count = 0
        while len(self._notices) - count > self._events * 3 // 4 or self._size > self._limit * 3 // 4:
            self._size -= self._notices[count].size
            count += 1
        self.start = self._notices[count - 1].position
        del self._notices[:count]

"""Replay buffer: the newest part of the event log, in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from services.notifier.transports.frames import Notice

_position = attrgetter("position")


class Recent:
    """Everything that the log has after `start`, up to `end`; at most so many events, and bytes of their data."""

    def __init__(self, *, events: int, size: int) -> None:
        self.start = 0
        self.end = 0
        self._events = events
        self._limit = size
        self._size = 0
        self._notices: list[Notice] = []
        # The newest position back to which there turned out to be no room.
        self._no_room = -1

    def begin(self, position: int) -> None:
        """Forget everything, and go on after a position."""
        self._notices, self._size, self._no_room = [], 0, -1
        self.start = self.end = position

    def append(self, notice: Notice) -> None:
        """Add the newest event; the oldest go when there are too many."""
        self._notices.append(notice)
        self._size += notice.size
        self.end = notice.position
        if len(self._notices) > self._events or self._size > self._limit:
            self._forget()

    def may_reach(self, after: int) -> bool:
        """Whether what comes after an earlier position may still find room; positions have gaps, but no repeats."""
        return self._no_room < after < self.start and len(self._notices) + self.start - after <= self._events

    def prepend(self, after: int, earlier: Sequence[Notice]) -> None:
        """Add everything between an earlier position and `start`, if there is room for it."""
        size = sum(notice.size for notice in earlier)
        if len(self._notices) + len(earlier) > self._events or self._size + size > self._limit:
            self._no_room = after
            return
        self._notices[:0] = earlier
        self._size += size
        self.start = after

    def covers(self, after: int) -> bool:
        """Whether everything after a position is here."""
        return after >= self.start

    def read(self, after: int, limit: int) -> tuple[list[Notice], int]:
        """The first events after a position that is covered, and the position up to which that is all."""
        first = bisect_right(self._notices, after, key=_position)
        found = self._notices[first : first + limit]
        return found, found[-1].position if len(found) == limit else max(after, self.end)

    def _forget(self) -> None:
        """Drop a quarter at once: moving the rest for every event would cost more than the event."""
        count = 0
        while len(self._notices) - count > self._events * 3 // 4 or self._size > self._limit * 3 // 4:
            self._size -= self._notices[count].size
            count += 1
        self.start = self._notices[count - 1].position
        del self._notices[:count]

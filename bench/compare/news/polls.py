"""Cost of polls: bytes of one without news, and what an event adds to the one that brings it."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Iterator

from bench.compare.measure.proxies import Recorded

_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def costs(connections: Iterable[Recorded]) -> tuple[float, float] | None:
    """Bytes up and down of a poll without news, and those that an event adds; None before both have been seen.

    Each poll is counted by itself: what a window with events has more depends on how many polls happened to be in it.
    """
    # A watcher's first poll has no condition to send yet: it is like no other.
    polls = [poll for each in connections for poll in _polls(bytes(each.up), bytes(each.down))][1:]
    empty = [size for size, events in polls if not events]
    with_events = [(size, events) for size, events in polls if events]
    if not empty or not with_events:
        return None
    # Positions grow by a digit now and then: the most common size.
    poll = statistics.mode(empty)
    return float(poll), sum(size - poll for size, _ in with_events) / sum(events for _, events in with_events)


def _polls(up: bytes, down: bytes) -> Iterator[tuple[int, int]]:
    """Bytes of each poll, request and answer, and how many events it brought; one without its answer is left out."""
    requests = [len(head) + len(_END) for head in up.split(_END)[:-1]]
    for request, (answer, body) in zip(requests, _answers(down), strict=False):
        yield request + answer, len(json.loads(body)) if body else 0


def _answers(down: bytes) -> Iterator[tuple[int, bytes]]:
    """Bytes of each whole answer, and its body."""
    while (end := down.find(_END)) >= 0:
        length = _LENGTH.search(down[: end + len(_END)])
        size = end + len(_END) + (int(length[1]) if length else 0)
        if len(down) < size:
            return
        yield size, down[end + len(_END) : size]
        down = down[size:]

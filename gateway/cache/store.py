"""A response store of bounded size that evicts the least recently used entries first."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Header = tuple[bytes, bytes]

# What an entry costs beside its body, in bytes.
_OVERHEAD = 2_000
_MAX_VARIANTS = 8


@dataclass(slots=True)
class Stored:
    """One representation. `route` is what found it; times are of the monotonic clock, in seconds."""

    headers: list[Header]
    body: bytes
    etag: bytes
    lifetime: float
    received_at: float
    route: Any

    def age(self, now: float) -> float:
        return now - self.received_at


@dataclass(slots=True)
class _Target:
    """All representations of one URI, by the request's fields that select among them."""

    topic: str
    varies_by: tuple[bytes, ...]
    variants: dict[tuple[bytes, ...], Stored] = field(default_factory=dict)
    size: int = 0


class CacheStore:
    def __init__(self, capacity: int) -> None:
        """`capacity` in bytes; nothing is kept for 0."""
        self._capacity = capacity
        self._size = 0
        self._targets: OrderedDict[str, _Target] = OrderedDict()
        self._by_topic: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def size(self) -> int:
        """Bytes, roughly."""
        return self._size

    def get(self, uri: str, request: Mapping[bytes, bytes]) -> Stored | None:
        target = self._targets.get(uri)
        if target is None:
            return None
        self._targets.move_to_end(uri)
        return target.variants.get(_selection(target.varies_by, request))

    def put(
        self, uri: str, topic: str, varies_by: tuple[bytes, ...], request: Mapping[bytes, bytes], stored: Stored
    ) -> None:
        """Keep a response, if it is small enough to be one of many; `topic` is what it will be dropped by."""
        size = _size(uri, stored)
        if size > self._capacity // 8:
            return
        target = self._targets.get(uri)
        if target is None or target.varies_by != varies_by or len(target.variants) >= _MAX_VARIANTS:
            self.drop(uri)
            target = self._targets[uri] = _Target(topic, varies_by)
            self._by_topic[topic].add(uri)
        selection = _selection(varies_by, request)
        replaced = target.variants.get(selection)
        grown = size - (_size(uri, replaced) if replaced else 0)
        target.variants[selection] = stored
        target.size += grown
        self._size += grown
        while self._size > self._capacity:
            self.drop(next(iter(self._targets)))

    def drop(self, uri: str) -> None:
        target = self._targets.pop(uri, None)
        if target is not None:
            self._size -= target.size
            uris = self._by_topic[target.topic]
            uris.discard(uri)
            if not uris:
                del self._by_topic[target.topic]

    def drop_topic(self, topic: str) -> None:
        for uri in tuple(self._by_topic.get(topic, ())):
            self.drop(uri)

    def clear(self) -> None:
        self._targets.clear()
        self._by_topic.clear()
        self._size = 0


def _size(uri: str, stored: Stored) -> int:
    """Bytes, roughly; a target may be longer than its answer, with a query that nothing reads."""
    return len(stored.body) + len(uri) + _OVERHEAD


def _selection(varies_by: tuple[bytes, ...], request: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    return tuple(request.get(name, b"") for name in varies_by)

"""Topic patterns of AMQP 0-9-1: words between dots, `*` for one word, `#` for any number of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache


# Bounded, because clients invent patterns.
@lru_cache(maxsize=4096)
def matches(pattern: str, routing_key: str) -> bool:
    """Whether a binding's pattern takes a routing key."""
    return _matches(pattern.split("."), routing_key.split("."))


def _matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_matches(pattern[1:], words[taken:]) for taken in range(len(words) + 1))
    return bool(words) and pattern[0] in {"*", words[0]} and _matches(pattern[1:], words[1:])

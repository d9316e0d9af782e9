"""Authorization, subscriptions and rate limits of clients. No framework, no sockets."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from chassis.auth.identity import Principal
from chassis.broker.event_log import Position
from chassis.broker.port import Event
from chassis.broker.topics import matches
from chassis.errors import Kind, ShopError

# Close codes: RFC 6455, 7.4.1 and the IANA registry; 4000-4999 are for applications, 4401 is our 401.
NORMAL_CLOSURE = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
ABNORMAL_CLOSURE = 1006
TRY_AGAIN_LATER = 1013
UNAUTHENTICATED = 4401

# Of no log: no event is after it.
UNKNOWN_POSITION = Position((0,), log="unknown")

MAX_TOPICS = 32
# Of one client, whatever the number of its frames: each costs memory, and a look at every event.
MAX_CLIENT_TOPICS = 256
# Few words of bounded length: what a pattern costs grows with its number of `#`.
_TOPIC = re.compile(r"(?:[a-z0-9_-]{1,32}|\*|#)(?:\.(?:[a-z0-9_-]{1,32}|\*|#)){0,7}")
_MAX_TEXT = 2_000
# All but tab and line breaks: a terminal that shows a chat would obey them.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

_EVERYTHING = "everything"


def channel_of(principal: Principal) -> str:
    """The channel that a client listens to: an admin's has everything, a customer's only what concerns them."""
    return _EVERYTHING if principal.is_admin else f"{principal.role}:{principal.subject}"


def channels_of(event: Event) -> tuple[str, ...]:
    """The channels that an event is on."""
    owner = event.extensions.get("userid")
    return (_EVERYTHING, f"customer:{owner}") if owner else (_EVERYTHING,)


def may_see(principal: Principal, event: Event) -> bool:
    return channel_of(principal) in channels_of(event)


def check_topics(topics: Sequence[str]) -> tuple[str, ...]:
    """The topics without repeats. Raises INVALID_TOPIC."""
    unique = tuple(dict.fromkeys(topics))
    if not 1 <= len(unique) <= MAX_TOPICS:
        raise ShopError("INVALID_TOPIC", f"topics must have 1 to {MAX_TOPICS} entries", Kind.INVALID)
    for topic in unique:
        if not _TOPIC.fullmatch(topic):
            rule = "1 to 8 words of at most 32 characters (a-z, 0-9, _, -), * or #, joined by dots"
            message = f"topic must be {rule}, such as order.*: got {topic[:64]!r}"
            raise ShopError("INVALID_TOPIC", message, Kind.INVALID)
    return unique


def check_total(topics: Iterable[str]) -> None:
    """Raises INVALID_TOPIC where a client would have more topics than one may."""
    if len(set(topics)) > MAX_CLIENT_TOPICS:
        message = f"client must have at most {MAX_CLIENT_TOPICS} topics: unsubscribe from some first"
        raise ShopError("INVALID_TOPIC", message, Kind.INVALID)


def check_text(text: str) -> str:
    """A chat text without surrounding space. Raises INVALID_TEXT."""
    stripped = text.strip()
    if not 1 <= len(stripped) <= _MAX_TEXT:
        raise ShopError("INVALID_TEXT", f"text must have 1 to {_MAX_TEXT} characters", Kind.INVALID)
    if _CONTROL_CHARACTER.search(text):
        message = "text must have no control characters except tab and line breaks"
        raise ShopError("INVALID_TEXT", message, Kind.INVALID)
    return stripped


def wanted(since_by_topic: Mapping[str, Position], event_type: str, partition: int, offset: int) -> bool:
    """Whether a client has subscribed to an entry of the log: each topic counts from where it was subscribed."""
    return any(
        not since.has(partition, offset) and matches(topic, event_type) for topic, since in since_by_topic.items()
    )


class TokenBucket:
    """Allows `rate` a second in the long run and `burst` at once."""

    __slots__ = ("_burst", "_clock", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled_at = clock()

    def take(self) -> bool:
        """Take one; False when there is none left."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

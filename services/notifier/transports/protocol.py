"""The protocol of WebSocket clients: JSON text, parsed without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from chassis.broker.event_log import InvalidPosition, Position
from chassis.errors import Kind, ShopError
from services.notifier.domain import UNKNOWN_POSITION, check_text, check_topics

MAX_FRAME = 64 << 10
_MAX_ROOM = 128


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`after`: the position up to which the client has everything; None for only new events.

    `UNKNOWN_POSITION` for one that this log cannot have given out.
    """

    topics: tuple[str, ...]
    after: Position | None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chat:
    """`room` is an order's id."""

    room: str
    text: str


@dataclass(frozen=True, slots=True)
class Ping:
    pass


Command = Subscribe | Unsubscribe | Chat | Ping


def parse(text: str) -> Command:
    """A client's frame. Raises INVALID_FRAME, UNKNOWN_ACTION, INVALID_TOPIC or INVALID_TEXT."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid("frame must be a JSON object") from error
    if not isinstance(frame, dict):
        raise _invalid("frame must be a JSON object")
    match frame.get("action"):
        case "subscribe":
            return Subscribe(_topics(frame), _after(frame))
        case "unsubscribe":
            return Unsubscribe(_topics(frame))
        case "chat":
            return Chat(_text(frame, "room", _MAX_ROOM), check_text(_text(frame, "text", MAX_FRAME)))
        case "ping":
            return Ping()
        case _:
            raise ShopError("UNKNOWN_ACTION", "action must be subscribe, unsubscribe, chat or ping", Kind.INVALID)


def position(text: str | None) -> Position | None:
    """A position as clients write it, None for none, `UNKNOWN_POSITION` for what is no position of ours.

    That is no error: a client that comes back with the id of another server, or of an earlier version, has done nothing
    wrong, and an error would end a browser's EventSource for good (WHATWG HTML, 9.2.3). Like a position that retention
    has passed it is answered with `resync`.
    """
    if text is None:
        return None
    try:
        return Position.parse(text)
    except InvalidPosition:
        return UNKNOWN_POSITION


def _after(frame: dict[str, Any]) -> Position | None:
    after = frame.get("after")
    if isinstance(after, int) and not isinstance(after, bool):
        after = str(after)
    if after is not None and not isinstance(after, str):
        raise _invalid("after must be an event id (a string)")
    return position(after)


def _topics(frame: dict[str, Any]) -> tuple[str, ...]:
    topics = frame.get("topics")
    if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
        raise _invalid("topics must be a list of strings")
    return check_topics(topics)


def _text(frame: dict[str, Any], name: str, longest: int) -> str:
    text = frame.get(name)
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        raise _invalid(f"{name} must be a string of 1 to {longest} characters")
    return text


def _invalid(message: str) -> ShopError:
    return ShopError("INVALID_FRAME", message, Kind.INVALID)

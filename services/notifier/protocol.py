"""What clients send over a WebSocket: JSON text, parsed without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from chassis.errors import Kind, ShopError
from services.notifier.domain import check_text, check_topics

MAX_FRAME = 64 << 10
_MAX_POSITION_DIGITS = 18
_MAX_ROOM = 128


@dataclass(frozen=True, slots=True)
class Subscribe:
    """`after`: the position up to which the client has everything; None for only what comes from now on."""

    topics: tuple[str, ...]
    after: int | None


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
    """A client's frame. Raises INVALID_FRAME, UNKNOWN_ACTION, INVALID_TOPIC, INVALID_POSITION or INVALID_TEXT."""
    try:
        frame = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid("a frame is a JSON object") from error
    if not isinstance(frame, dict):
        raise _invalid("a frame is a JSON object")
    match frame.get("action"):
        case "subscribe":
            return Subscribe(_topics(frame), position(frame.get("after")))
        case "unsubscribe":
            return Unsubscribe(_topics(frame))
        case "chat":
            return Chat(_text(frame, "room", _MAX_ROOM), check_text(_text(frame, "text", MAX_FRAME)))
        case "ping":
            return Ping()
        case _:
            raise ShopError("UNKNOWN_ACTION", "actions are subscribe, unsubscribe, chat and ping", Kind.INVALID)


def position(value: object) -> int | None:
    """A position as clients write it, None for none. Raises INVALID_POSITION."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None:
        return None
    if not isinstance(text, str) or not (text.isascii() and text.isdigit() and len(text) <= _MAX_POSITION_DIGITS):
        raise ShopError("INVALID_POSITION", "a position is the id of an event that was received", Kind.INVALID)
    return int(text)


def _topics(frame: dict[str, Any]) -> tuple[str, ...]:
    topics = frame.get("topics")
    if not isinstance(topics, list) or not all(isinstance(topic, str) for topic in topics):
        raise _invalid("topics is a list of strings")
    return check_topics(topics)


def _text(frame: dict[str, Any], name: str, longest: int) -> str:
    text = frame.get(name)
    if not isinstance(text, str) or not 1 <= len(text) <= longest:
        raise _invalid(f"{name} is a string of 1 to {longest} characters")
    return text


def _invalid(message: str) -> ShopError:
    return ShopError("INVALID_FRAME", message, Kind.INVALID)

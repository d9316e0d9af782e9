"""The page's calls and their answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from chassis.errors import invalid

MAX_ANSWER = 64 << 10
PROTOCOLS = ("http", "grpc", "websocket", "sse", "event")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
ACCOUNTS = {"demo": ("demo@shop.test", "demo"), "admin": ("admin@shop.test", "admin")}
_REFUSED = "the call cannot be made"
_PLACEHOLDER = re.compile(r"\{\{(\w{1,64})\}\}")
# RFC 9110, sections 5.1 and 5.5, without what only old software sends.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[ -~]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_PATH = 8 << 10
_EVENT_TYPE = re.compile(r"[a-z_]{1,40}(\.[a-z_]{1,40}){1,3}")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the page makes.

    `target` is the process that is called; `account` signs in first: "demo", "admin", or "" for no account. `method`
    and `path` are HTTP's; for gRPC the path is the method's full name and the body a message in JSON, for WebSocket and
    SSE the path has the topics, for an event it is the type of the one that is published once more.
    """

    target: str
    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    account: str = ""
    protocol: str = "http"

    @classmethod
    def parse(cls, content: bytes) -> Call:
        """Raises INVALID_INPUT, naming what is wrong."""
        try:
            sent = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise invalid("the call must be JSON") from error
        if not isinstance(sent, dict):
            raise invalid("the call must be a JSON object")
        call = cls(**_texts(sent))
        wrong = {
            "protocol": call.protocol not in PROTOCOLS and f"must be one of {', '.join(PROTOCOLS)}",
            "method": call.method not in METHODS and f"must be one of {', '.join(METHODS)}",
            "account": call.account not in ("", *ACCOUNTS) and f"must be empty or one of {', '.join(ACCOUNTS)}",
            "path": not _fits(call) and _path_of(call.protocol),
            "headers": not _can_be_sent(call.headers) and "must have tokens as names and printable ASCII as values",
        }
        if any(wrong.values()):
            raise invalid(_REFUSED, **{name: str(reason) for name, reason in wrong.items() if reason})
        return call

    def placeholders(self) -> set[str]:
        """The names of what stands in double braces and is filled in before the call is made."""
        return {name for text in (self.path, self.body, *self.headers.values()) for name in _PLACEHOLDER.findall(text)}


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with each placeholder's value in its place."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


@dataclass(frozen=True, slots=True)
class Answer:
    """The page's answer.

    `sent` and `size` are bytes of the two bodies; `decoded` is what the second means, where reading it takes
    more than eyes; `frames` are what a stream brought, with the milliseconds since it was opened.
    """

    status: int | str
    reason: str
    headers: list[tuple[str, str]]
    body: str
    sent: int
    size: int
    duration_ms: float
    decoded: Any = None
    frames: list[dict[str, Any]] | None = None
    failed: bool = False

    def json(self, trace_id: str) -> dict[str, Any]:
        return {**asdict(self), "duration_ms": round(self.duration_ms, 3), "trace_id": trace_id}


def _fits(call: Call) -> bool:
    if call.protocol == "event":
        return _EVENT_TYPE.fullmatch(call.path) is not None
    if len(call.path.encode()) > _MAX_PATH or _CONTROL.search(call.path):
        return False
    return call.path.startswith("/") and not call.path.startswith("//")


def _path_of(protocol: str) -> str:
    if protocol == "event":
        return "must be an event's type, such as order.placed"
    return f"must begin with one /, and have at most {_MAX_PATH} bytes and no control characters"


def _can_be_sent(headers: Mapping[str, str]) -> bool:
    names = all(_HEADER_NAME.fullmatch(name) for name in headers)
    return names and all(_HEADER_VALUE.fullmatch(value) for value in headers.values())


def _texts(sent: Mapping[str, Any]) -> dict[str, Any]:
    names = {"target", "method", "path", "headers", "body", "account", "protocol"}
    known = {name: value for name, value in sent.items() if name in names}
    headers = known.get("headers", {})
    texts = [value for name, value in known.items() if name != "headers"]
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in (*texts, *headers.values())):
        raise invalid(_REFUSED, headers="must be an object of strings; all other members must be strings")
    missing = {name: "is required" for name in ("target", "method", "path") if name not in known}
    if missing:
        raise invalid(_REFUSED, **missing)
    return known

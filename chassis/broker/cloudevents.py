"""Events as CloudEvents 1.0 in binary content mode: attributes are headers, the data is the body.

Every attribute is a header with a string value, `cloudEvents:<name>` over AMQP and `ce_<name>` over Kafka; `time` is
RFC 3339, the data JSON.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from chassis.broker.port import Event

CONTENT_TYPE = "application/json"
MAX_DATA_BYTES = 1 << 20
PREFIX = "cloudEvents:"
KAFKA = "ce_"

_REQUIRED = ("specversion", "id", "source", "type", "subject", "time")
# Put together once: every event that is read has them looked up.
_HEADERS = {prefix: [prefix + name for name in _REQUIRED] for prefix in (PREFIX, KAFKA)}
_NOTHING = (None,) * len(_REQUIRED)
_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,20}")


class InvalidEvent(ValueError):
    """An event that cannot be sent, or a message that is no CloudEvent of ours."""


def headers(event: Event, *, prefix: str = PREFIX) -> dict[str, str]:
    """The event's attributes as headers. Raises `InvalidEvent` when a receiver could not read it back."""
    if len(event.data) > MAX_DATA_BYTES:
        raise InvalidEvent(f"event {event.id} has {len(event.data)} bytes of data, more than {MAX_DATA_BYTES}")
    if not (event.id and event.source and event.type):
        raise InvalidEvent("an event needs an id, a source and a type")
    if event.time.tzinfo is None:
        raise InvalidEvent(f"the time of event {event.id} has no time zone")
    attributes = {
        f"{prefix}specversion": "1.0",
        f"{prefix}id": event.id,
        f"{prefix}source": event.source,
        f"{prefix}type": event.type,
        f"{prefix}subject": event.subject,
        f"{prefix}time": event.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    for name, value in event.extensions.items():
        if name in _REQUIRED or not _EXTENSION_NAME.fullmatch(name):
            raise InvalidEvent(f"{name!r} cannot name a CloudEvents extension attribute")
        attributes[prefix + name] = value
    return attributes


def event(headers: Mapping[str, object], data: bytes, *, prefix: str = PREFIX) -> Event:
    """The event in a message; headers that are not CloudEvents' are passed over. Raises `InvalidEvent`.

    `prefix`: `PREFIX` or `KAFKA`.
    """
    others, begin = dict(headers), len(prefix)
    version, id_, source, type_, subject, when = map(others.pop, _HEADERS[prefix], _NOTHING)
    if not (
        isinstance(version, str)
        and isinstance(id_, str)
        and isinstance(source, str)
        and isinstance(type_, str)
        and isinstance(subject, str)
        and isinstance(when, str)
    ):
        raise InvalidEvent(f"no CloudEvent: {', '.join(_missing(headers, prefix))} missing")
    if version != "1.0":
        raise InvalidEvent("no CloudEvent of version 1.0")
    try:
        time = datetime.fromisoformat(when)
    except ValueError as error:
        raise InvalidEvent("the time is not in RFC 3339") from error
    if time.tzinfo is None:
        raise InvalidEvent("the time has no time zone")
    extensions = {}
    for name, value in others.items():  # a loop, as a comprehension is a call of its own
        if name.startswith(prefix):
            extensions[name[begin:]] = str(value)
    return Event(id_, type_, source, subject, time, data, extensions)


def _missing(headers: Mapping[str, object], prefix: str) -> list[str]:
    return [name for name in _REQUIRED if not isinstance(headers.get(prefix + name), str)]

"""Events as CloudEvents 1.0 in binary content mode: attributes are headers, the data is the body.

Every attribute is a header with a string value, `cloudEvents:<name>` over AMQP and `ce_<name>` over Kafka; `time` is
RFC 3339, the data JSON.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from chassis.broker.port import Event

CONTENT_TYPE = "application/json"
MAX_DATA_BYTES = 1 << 20
PREFIX = "cloudEvents:"
KAFKA = "ce_"

_REQUIRED = ("specversion", "id", "source", "type", "subject", "time")
# Put together once: every event that is read has them looked up.
_HEADERS = {prefix: [prefix + name for name in _REQUIRED] for prefix in (PREFIX, KAFKA)}
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


def event(headers: dict[str, Any], data: bytes, *, prefix: str = PREFIX) -> Event:
    """The event in a message; headers that are not CloudEvents' are passed over. Raises `InvalidEvent`.

    It takes what every event has out of `headers`, which is faster than to copy them. `prefix`: `PREFIX` or `KAFKA`.
    """
    begin, take = len(prefix), headers.pop
    # One after the other, which is faster than a loop or `map`.
    version_key, id_key, source_key, type_key, subject_key, time_key = _HEADERS[prefix]
    version, id_, source = take(version_key, None), take(id_key, None), take(source_key, None)
    type_, subject, when = take(type_key, None), take(subject_key, None), take(time_key, None)
    if not (
        isinstance(version, str)
        and isinstance(id_, str)
        and isinstance(source, str)
        and isinstance(type_, str)
        and isinstance(subject, str)
        and isinstance(when, str)
    ):
        raise InvalidEvent(f"no CloudEvent: {_missing(version, id_, source, type_, subject, when)} missing")
    if version != "1.0":
        raise InvalidEvent("no CloudEvent of version 1.0")
    try:
        time = datetime.fromisoformat(when)
    except ValueError as error:
        raise InvalidEvent("the time is not in RFC 3339") from error
    if time.tzinfo is None:
        raise InvalidEvent("the time has no time zone")
    extensions = {}
    for name, value in headers.items():  # a loop, as a comprehension is a call of its own
        if name.startswith(prefix):
            extensions[name[begin:]] = str(value)
    return Event(id_, type_, source, subject, time, data, extensions)


def _missing(*found: object) -> str:
    return ", ".join(name for name, value in zip(_REQUIRED, found, strict=True) if not isinstance(value, str))

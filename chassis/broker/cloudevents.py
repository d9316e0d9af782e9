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
from typing import Any

from chassis.broker.port import Event

CONTENT_TYPE = "application/json"
MAX_DATA_BYTES = 1 << 20
PREFIX = "cloudEvents:"
KAFKA = "ce_"

_REQUIRED = ("specversion", "id", "source", "type", "subject", "time")
_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,20}")


class InvalidEvent(ValueError):
    """An event that cannot be sent, or a message that is no CloudEvent of ours."""


def headers(event: Event, *, prefix: str = PREFIX) -> dict[str, str]:
    """The event's attributes as headers. Raises `InvalidEvent` when a receiver could not read it back."""
    return {prefix + name: value for name, value in attributes(event).items()}


def event(headers: Mapping[str, object], data: bytes) -> Event:
    """The event in an AMQP message; headers that are not CloudEvents' are passed over. Raises `InvalidEvent`."""
    begin = len(PREFIX)
    return event_of({name[begin:]: value for name, value in headers.items() if name.startswith(PREFIX)}, data)


def attributes(event: Event) -> dict[str, str]:
    """The event's attributes by their names. Raises `InvalidEvent` when a receiver could not read it back."""
    if len(event.data) > MAX_DATA_BYTES:
        raise InvalidEvent(f"event {event.id} has {len(event.data)} bytes of data, more than {MAX_DATA_BYTES}")
    if not (event.id and event.source and event.type):
        raise InvalidEvent("an event needs an id, a source and a type")
    if event.time.tzinfo is None:
        raise InvalidEvent(f"the time of event {event.id} has no time zone")
    found = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": event.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    for name, value in event.extensions.items():
        if name in _REQUIRED or not _EXTENSION_NAME.fullmatch(name):
            raise InvalidEvent(f"{name!r} cannot name a CloudEvents extension attribute")
        found[name] = value
    return found


def event_of(attributes: dict[str, Any], data: bytes) -> Event:
    """The event with these attributes, of which it keeps the dictionary. Raises `InvalidEvent`."""
    take = attributes.pop
    version, id_, source = take("specversion", None), take("id", None), take("source", None)
    type_, subject, when = take("type", None), take("subject", None), take("time", None)
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
    for name, value in attributes.items():
        if not isinstance(value, str):
            attributes[name] = str(value)
    return Event(id_, type_, source, subject, time, data, attributes)


def _missing(*found: object) -> str:
    return ", ".join(name for name, value in zip(_REQUIRED, found, strict=True) if not isinstance(value, str))

"""An event as a Kafka record, by CloudEvents' Kafka binding in binary content mode, and back. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka import ConsumerRecord

from chassis.broker import cloudevents
from chassis.broker.port import Event
from chassis.observability.capture.masking import masked, masked_value
from chassis.observability.capture.messages import LOOKED_AT_BYTES, Form, Message

Headers = list[tuple[str, bytes]]

_CONTENT_TYPE = cloudevents.CONTENT_TYPE.encode()


@dataclass(frozen=True, slots=True)
class Record:
    """The record of an event. Without a key, any partition will do."""

    key: bytes | None
    value: bytes
    headers: Headers

    @classmethod
    def of(cls, event: Event) -> Record:
        """The record of an event. Raises `InvalidEvent`."""
        return cls(event.subject.encode() or None, event.data, message_headers(event))


def message_headers(event: Event) -> Headers:
    """An event's attributes as CloudEvents' Kafka binding has them, and its trace as W3C Trace Context has it."""
    headers = [(name, value.encode()) for name, value in cloudevents.headers(event, prefix=cloudevents.KAFKA).items()]
    headers.append(("content-type", _CONTENT_TYPE))
    # Once more under its own name, for consumers that do not read CloudEvents.
    if traceparent := event.extensions.get("traceparent"):
        headers.append(("traceparent", traceparent.encode()))
    return headers


def event_of(record: ConsumerRecord[bytes, bytes]) -> Event:
    """The event in a record. Raises `InvalidEvent`."""
    begin = len(cloudevents.KAFKA)
    try:
        attributes = {
            name[begin:]: value.decode()
            for name, value in record.headers
            if value is not None and name.startswith(cloudevents.KAFKA)
        }
    except UnicodeDecodeError as error:
        raise cloudevents.InvalidEvent("a header is not UTF-8") from error
    return cloudevents.event_of(attributes, record.value or b"")


def captured(record: Record) -> Message:
    """The record as it is in a batch of its own ("Record", message format version 2), without its secrets.

    The head of the batch is not there: the library writes it for all records that it happens to send together.
    """
    headers = [(name, masked_value(name, value.decode()).encode()) for name, value in record.headers]
    body = b"".join(
        (
            b"\0\0\0",  # no attributes; no milliseconds and no offset after the batch's first
            _sized(record.key),
            _sized(masked(record.value)),
            _varint(len(headers)),
            *(part for name, value in headers for part in (_sized(name.encode()), _sized(value))),
        )
    )
    whole = _varint(len(body)) + body
    return Message(Form.KAFKA, whole[:LOOKED_AT_BYTES], len(whole), cloudevents.CONTENT_TYPE)


def _sized(content: bytes | None) -> bytes:
    return _varint(-1) if content is None else _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Zigzag, seven bits a byte, the lowest first, as in protobuf; all but the last byte have the eighth bit."""
    left = number << 1 ^ number >> 63
    groups = []
    while left > 0x7F:
        groups.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes((*groups, left))

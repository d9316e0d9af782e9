"""AMQP 0-9-1, as RabbitMQ speaks it."""

from __future__ import annotations

from pamqp import frame as amqp_frame
from pamqp import heartbeat
from pamqp.body import ContentBody
from pamqp.exceptions import PAMQPException, UnmarshalingException
from pamqp.header import ContentHeader, ProtocolHeader

from shop.fault.tap.messages import Frame, frame

PREFACE = b"AMQP\x00\x00\x09\x01"
_HEAD = 7


class Amqp:
    """One direction."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that are complete now. Raises `ValueError`."""
        self._buffer += chunk
        found: list[Frame] = []
        while (size := self._size()) and len(self._buffer) >= size:
            taken = bytes(self._buffer[:size])
            del self._buffer[:size]
            try:
                _, channel, value = amqp_frame.unmarshal(taken)
            except (PAMQPException, UnmarshalingException, ValueError) as error:
                raise ValueError(f"no AMQP: {error}") from error
            found.append(_frame(channel, value, size))
        return found

    def _size(self) -> int:
        """Of the next frame; 0 while that cannot be known."""
        if self._buffer[:4] == b"AMQP":
            return len(PREFACE)
        return _HEAD + int.from_bytes(self._buffer[3:7], "big") + 1 if len(self._buffer) >= _HEAD else 0


def _frame(channel: int, value: object, size: int) -> Frame:
    if isinstance(value, ProtocolHeader):
        return frame("protocol header", size)
    if isinstance(value, heartbeat.Heartbeat):
        return frame("heartbeat", size)
    if isinstance(value, ContentBody):
        return frame(f"body, channel {channel} ({len(value)} bytes)", size)
    if isinstance(value, ContentHeader):
        headers = value.properties.headers or {}
        fields = [("content-type", str(value.properties.content_type or ""))]
        fields += [(str(name), str(given)) for name, given in headers.items()]
        return frame(f"header, channel {channel} (a body of {value.body_size} bytes)", size, fields)
    name = str(getattr(value, "name", type(value).__name__))
    shown = ("exchange", "routing_key", "queue", "delivery_tag", "redelivered", "multiple", "requeue")
    fields = [(each, str(getattr(value, each))) for each in shown if getattr(value, each, None) not in (None, "")]
    return frame(f"{name}, channel {channel}", size, fields)

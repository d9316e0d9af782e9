"""AMQP 0-9-1, as RabbitMQ speaks it."""

from __future__ import annotations

from dataclasses import replace

from pamqp import frame as amqp_frame
from pamqp import heartbeat
from pamqp.base import Frame as Method
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
        # Channel -> its latest method; the header and the body after it belong to that.
        self._methods: dict[int, str] = {}
        self._count = 0

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
            if isinstance(value, Method):
                self._count += 1
                self._methods[channel] = f"channel {channel}, {value.name} {self._count}"
            found.append(replace(_frame(channel, value, taken), stream=self._methods.get(channel, "")))
        return found

    def _size(self) -> int:
        """The size of the next frame; 0 while that cannot be known."""
        if self._buffer[:4] == b"AMQP":
            return len(PREFACE)
        return _HEAD + int.from_bytes(self._buffer[3:7], "big") + 1 if len(self._buffer) >= _HEAD else 0


def _frame(channel: int, value: object, taken: bytes) -> Frame:
    size = len(taken)
    if isinstance(value, ProtocolHeader):
        return frame("protocol header", size, content=taken)
    if isinstance(value, heartbeat.Heartbeat):
        return frame("heartbeat", size, content=taken)
    if isinstance(value, ContentBody):
        return frame(f"body, channel {channel} ({len(value)} bytes)", size, content=taken)
    if isinstance(value, ContentHeader):
        headers = value.properties.headers or {}
        fields = [("content-type", str(value.properties.content_type or ""))]
        fields += [(str(name), str(given)) for name, given in headers.items()]
        return frame(f"header, channel {channel} (a body of {value.body_size} bytes)", size, fields, content=taken)
    name = str(getattr(value, "name", type(value).__name__))
    shown = ("exchange", "routing_key", "queue", "delivery_tag", "redelivered", "multiple", "requeue")
    fields = [(each, str(getattr(value, each))) for each in shown if getattr(value, each, None) not in (None, "")]
    # What signs in to the broker is not kept: its secret has no name beside it.
    content = b"" if name.startswith("Connection.") else taken
    return frame(f"{name}, channel {channel}", size, fields, content=content)

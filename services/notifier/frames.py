"""Frames: the messages to clients. A frame is encoded once for each protocol, however many clients receive it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from functools import cached_property
from typing import Any, Literal

import orjson
import websockets.frames

from chassis.broker.event_log import LogEntry, Position
from chassis.broker.port import Event
from chassis.errors import ShopError

WireProtocol = Literal["WebSocket", "SSE"]


class Frame:
    """A JSON message. `position` is where a client that has received it can go on."""

    def __init__(self, payload: bytes, *, position: Position | None = None, silent: bool = False) -> None:
        """`silent`: an event stream gets only the position, since it carries events and nothing else."""
        self.payload = payload
        self._position = position
        self._silent = silent

    @cached_property
    def websocket(self) -> bytes:
        """One unmasked, uncompressed text frame (RFC 6455, 5.2)."""
        return websockets.frames.Frame(websockets.frames.Opcode.TEXT, self.payload).serialize(mask=False)

    @cached_property
    def event_stream(self) -> bytes:
        """One block of an event stream (WHATWG HTML, 9.2). One without data moves the last event id and is no event."""
        position = b"" if self._position is None else b"id: %b\n" % str(self._position).encode()
        payload = b"" if self._silent else b"data: %b\n" % self.payload
        return position + payload + b"\n"

    @cached_property
    def event_stream_chunk(self) -> bytes:
        """The same as one chunk (RFC 9112, 7.1)."""
        return b"%x\r\n%b\r\n" % (len(self.event_stream), self.event_stream)

    def encoded(self, protocol: WireProtocol) -> bytes:
        """The bytes in a protocol, without the chunks of HTTP."""
        return self.websocket if protocol == "WebSocket" else self.event_stream


class JoinedFrames(Frame):
    """Several frames, which are written as one."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        super().__init__(b"")
        self._frames = frames

    @cached_property
    def websocket(self) -> bytes:
        return b"".join([frame.websocket for frame in self._frames])

    @cached_property
    def event_stream(self) -> bytes:
        return b"".join([frame.event_stream for frame in self._frames])

    @cached_property
    def event_stream_chunk(self) -> bytes:
        return b"".join([frame.event_stream_chunk for frame in self._frames])


class Notice:
    """An event of the log as clients get it."""

    __slots__ = ("_frame", "event", "partition", "position")

    def __init__(self, entry: LogEntry) -> None:
        self.position = entry.position
        self.partition = entry.partition
        self.event: Event = entry.event
        self._frame: Frame | None = None

    @property
    def offset(self) -> int:
        """The entry's number in its partition."""
        return self.position.offset(self.partition)

    @property
    def size(self) -> int:
        """Bytes of the event's data."""
        return len(self.event.data)

    @property
    def frame(self) -> Frame:
        """Made when the first client needs it, and kept: clients that reconnect together miss the same events."""
        if self._frame is None:
            self._frame = self._framed(self.position)
        return self._frame

    def frame_for(self, cursor: Position) -> tuple[Frame, Position]:
        """The frame for a client that has everything up to a cursor, and its cursor then, which is the frame's id.

        That is this notice's own position unless the client's other partitions were read further than this copy's.
        """
        position = cursor.union(self.position)
        return (self.frame if position == self.position else self._framed(position)), position

    def _framed(self, position: Position) -> Frame:
        payload = {
            "id": str(position),
            "type": self.event.type,
            "time": self.event.time.astimezone(UTC),
            "subject": self.event.subject,
            "data": _parsed(self.event.data),
        }
        return Frame(_encoded(payload), position=position)


def _encoded(payload: dict[str, Any]) -> bytes:
    """The payload in JSON; without data that can be parsed, but is nested too deeply to be written again."""
    try:
        return orjson.dumps(payload, option=orjson.OPT_UTC_Z)
    except orjson.JSONEncodeError:
        return orjson.dumps({**payload, "data": None}, option=orjson.OPT_UTC_Z)


def _parsed(data: bytes) -> Any:
    """The event's data; None for what is not JSON: one unreadable event must not stop all that follow."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


class _Heartbeat(Frame):
    """The heartbeat of an event stream: a comment, which clients ignore, and the position to resume at."""

    @cached_property
    def event_stream(self) -> bytes:
        return b": still here\n" + super().event_stream


def subscribed(topics: Sequence[str], position: Position) -> Frame:
    """Everything on these topics after the position will follow."""
    payload = {"type": "subscribed", "topics": topics, "position": str(position)}
    return Frame(orjson.dumps(payload), position=position, silent=True)


def unsubscribed(topics: Sequence[str]) -> Frame:
    return Frame(orjson.dumps({"type": "unsubscribed", "topics": topics}))


def posted(room: str) -> Frame:
    """A chat text is in the log; it is sent as an event to all in the room, its author too."""
    return Frame(orjson.dumps({"type": "posted", "room": room}))


def heartbeat(position: Position | None) -> Frame:
    """An event stream is alive, and its client has everything up to the position."""
    return _Heartbeat(b"", position=position, silent=True)


def pong(position: Position | None) -> Frame:
    """The same for the ping of a WebSocket's client; without a position while it catches up or listens to nothing."""
    return Frame(orjson.dumps({"type": "pong"} if position is None else {"type": "pong", "position": str(position)}))


def error(problem: ShopError) -> Frame:
    return Frame(orjson.dumps({"type": "error", "code": problem.code, "message": problem.message}))


RESYNC = Frame(b'{"type":"resync"}')

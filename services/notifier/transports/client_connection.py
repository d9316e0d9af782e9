"""Client connection: its bytes go to a transport, whose buffer is the client's bounded queue.

A frame is encoded once and written to each transport as it is: that is three times as fast as a queue and a task for
each client, and the buffer shows better than a count of messages how far behind a client is.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import ClassVar

from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol

from services.notifier.domain import TRY_AGAIN_LATER
from services.notifier.frames import Frame, WireProtocol


class TransportConnection(ABC):
    protocol: ClassVar[WireProtocol]
    # There are thousands of them.
    __slots__ = ("_backlog", "_http", "_taken", "_taken_at", "_transport", "_writer", "_written", "closing")

    def __init__(self, http: BaseProtocol, writer: AbstractStreamWriter, *, backlog: int) -> None:
        """`backlog`: the bytes that may wait for the client before it is too slow."""
        transport = http.transport
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._http = http
        self._transport = transport
        self._writer = writer
        self._backlog = backlog
        self._written = 0
        self._taken = 0
        self._taken_at = time.monotonic()
        self.closing = 0

    def send(self, frame: Frame) -> bool:
        transport = self._transport
        # uvloop raises for any call on a transport whose connection is gone.
        if self.closing or transport.is_closing():
            return False
        encoded = self._encoded(frame)
        waiting = transport.get_write_buffer_size()
        # One large event does not make a client slow, but it is the only one that may be larger than the backlog.
        if waiting and waiting + len(encoded) > self._backlog:
            self.close(TRY_AGAIN_LATER, "TOO_SLOW")
            return False
        transport.write(encoded)
        self._written += len(encoded)
        return True

    @property
    def behind(self) -> bool:
        return self._http.writing_paused

    async def ready(self) -> None:
        await self._writer.drain()
        if self.closing or self._transport.is_closing():
            raise ConnectionResetError("the client is being closed")

    def stalled_for(self) -> float:
        waiting = 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()
        taken = self._written - waiting
        # A ping waits too, but is not counted as written: what was taken may seem to shrink.
        if not waiting or taken > self._taken:
            self._taken, self._taken_at = taken, time.monotonic()
        return time.monotonic() - self._taken_at

    def close(self, code: int, reason: str) -> None:
        if not self.closing:
            self.closing = code
            self._begin_close(code, reason)

    @abstractmethod
    def _encoded(self, frame: Frame) -> bytes:
        """The frame as bytes on the wire, which are the same object for every connection."""

    @abstractmethod
    def _begin_close(self, code: int, reason: str) -> None:
        """Send the protocol's close, and wait for nothing."""

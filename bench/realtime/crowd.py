"""Many receiving connections in one process, as cheap as Python can have them: they count bytes, and no more."""

from __future__ import annotations

import base64
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_TIMEOUT = 60.0
_SUBSCRIBE = b'{"action":"subscribe","topics":["order.*"]}'
_BATCH_SIZE = 200


def missing() -> str:
    """The reason why there can be no crowd here; empty where there can."""
    return "" if hasattr(select, "epoll") else "needs Linux (epoll)"


class Crowd:
    """A number of open connections to one server."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._sockets = {each.fileno(): each for each in sockets}
        self._epoll = select.epoll()
        for descriptor in self._sockets:
            self._epoll.register(descriptor, select.EPOLLIN)

    def __len__(self) -> int:
        return len(self._sockets)

    def receive(self, size: int) -> list[float]:
        """Wait until every connection has received so many bytes; when each of them had (monotonic seconds)."""
        left = dict.fromkeys(self._sockets, size)
        moments: list[float] = []
        buffer = bytearray(1 << 16)
        deadline = time.monotonic() + _TIMEOUT
        while len(moments) < len(left):
            for descriptor, _ in self._epoll.poll(1.0, len(left)):
                count = self._sockets[descriptor].recv_into(buffer)
                left[descriptor] -= count
                if left[descriptor] == 0:
                    moments.append(time.monotonic())
                elif not count or left[descriptor] < 0:
                    raise RuntimeError(f"a connection was closed or received {-left[descriptor]} bytes too many")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(left) - len(moments)} connections still wait")
        return moments

    def contents(self, size: int) -> set[bytes]:
        """The next bytes of all connections: one content when all receive the same."""
        return {_read(each, size) for each in self._sockets.values()}

    def close(self) -> None:
        self._epoll.close()
        for each in self._sockets.values():
            each.close()


@contextmanager
def crowd(count: int, port: int, greet: Callable[[socket.socket], None]) -> Iterator[Crowd]:
    """Open connections; `greet` sends each its greeting, and reads what is answered before any event."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            each = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT)
            sockets.append(each)
            greet(each)
        gathered = Crowd(sockets)
        yield gathered
        gathered.close()
    finally:
        for each in sockets:
            each.close()


def silence(_: socket.socket) -> None:
    """Send nothing: for bare transports."""


def websocket(token: str) -> Callable[[socket.socket], None]:
    """Open a WebSocket and subscribe (RFC 6455, 4.1 and 5.3)."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(_SUBSCRIBE))
    subscribe = struct.pack("!BB", 0x81, 0x80 | len(masked)) + mask + masked
    request = (
        f"GET /notifications HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n"
    ).encode()

    def greet(connection: socket.socket) -> None:
        connection.sendall(request)
        _read_until(connection, b"\r\n\r\n")
        connection.sendall(subscribe)
        _read_until(connection, b"}")

    return greet


def event_stream(token: str) -> Callable[[socket.socket], None]:
    """Request an event stream, and read on to the position from which it goes."""
    request = (
        f"GET /notifications/stream?topics=order.* HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()

    def greet(connection: socket.socket) -> None:
        connection.sendall(request)
        _read_until(connection, b"id: 0\n\n\r\n")

    return greet


def _read_until(connection: socket.socket, end: bytes) -> None:
    received = b""
    while not received.endswith(end):
        part = connection.recv(4_096)
        if not part:
            raise RuntimeError(f"closed after {received!r}")
        received += part


def _read(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise RuntimeError(f"closed after {received!r}")
        received += part
    return received

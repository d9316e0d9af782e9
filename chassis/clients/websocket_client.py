"""WebSockets to other processes that buffer little of what has not been received yet.

aiohttp's own reads on until half a megabyte waits for its reader, which has no setting; with a slow reader behind each
connection, that is what each of them would cost.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp

from chassis.observability.capture.http import aiohttp_middlewares
from chassis.observability.tracing import Telemetry

# As much as one reading of the socket can bring: it is parsed at once, and many small messages cost several times
# their bytes as objects. The kernel doubles it for its own bookkeeping.
_RECEIVE_BUFFER_BYTES = 4 << 10


class ReadOnDemand(aiohttp.ClientWebSocketResponse[Any]):
    """Reads from its socket only while `receive` or `close` waits: the rest stays with the sender."""

    def __init__(self, reader: Any, writer: Any, protocol: Any, response: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(reader, writer, protocol, response, *args, **kwargs)
        # The response gives it up when the connection ends.
        self._flow = response.connection.protocol
        self._is_ending = False
        self._is_reading = False

    async def receive(self, timeout: float | None = None) -> Any:  # aiohttp's signature
        self._flow.resume_reading()
        self._is_reading = True
        if not (self._closed or self._closing):
            self._reset_heartbeat()  # a pong may wait behind what has not been read
        try:
            return await super().receive(timeout)
        finally:
            self._is_reading = False
            # `close` waits for the other side's, and may have come meanwhile.
            if not self._is_ending:
                self._flow.pause_reading()

    def _pong_not_received(self) -> None:
        """Cut the connection, unless it is not being read: then nothing is known of the other side."""
        if self._is_reading:
            super()._pong_not_received()
        else:
            self._reset_heartbeat()

    async def close(self, *, code: int = aiohttp.WSCloseCode.OK, message: bytes = b"") -> bool:
        """Close, and read until the other side has closed too."""
        self._is_ending = True
        self._flow.resume_reading()
        return await super().close(code=code, message=message)


def websocket_session(telemetry: Telemetry, trust: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """A session for such WebSockets, of as many connections as there are; it keeps no cookies."""
    return aiohttp.ClientSession(
        connector=connector(trust),
        ws_response_class=ReadOnDemand,
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=aiohttp_middlewares(telemetry),
    )


def connector(trust: ssl.SSLContext | None = None) -> aiohttp.TCPConnector:
    """A connector for a session of such WebSockets: without a limit of connections."""
    return aiohttp.TCPConnector(limit=0, ssl=trust or True, socket_factory=_socket)


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    return made

"""WebSockets as RFC 6455 requires: uvicorn's protocol with bounded pongs, and close reasons that fit their frame."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State

# A control frame has 125 bytes (5.5), of which a close frame spends two on its code (5.5.1).
_MAX_REASON_BYTES = 123
_PONG = b"\x8a"  # the first byte of a whole frame (RFC 6455, section 5.2)
_MAX_PONGS = 64  # of one packet: 8 KiB
# Seconds that a connection has to end after its application: longer than the closing handshake's 10. A client that
# reads nothing would keep it, with what waits to be sent, for ever.
_MAX_CLOSING = 15.0


class WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, which never has more than one pong waiting behind the bytes that its client does not take."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._latest_pong = b""
        self._end: asyncio.TimerHandle | None = None

    def handle_ping(self) -> None:
        """Answer the latest pings of what was read; while the client reads nothing, the last one, once it reads again.

        Leaving out earlier ones is RFC 6455's, section 5.5.3.
        """
        # The pongs of all the pings in one packet, and after them the reply to a close.
        frames = self.conn.data_to_send()
        pongs = [frame for frame in frames if frame[:1] == _PONG]
        if self.writable.is_set():
            self.transport.write(b"".join(pongs[-_MAX_PONGS:]))
        elif pongs:
            self._latest_pong = pongs[-1]
        self.transport.write(b"".join(frames[len(pongs) :]))

    def resume_writing(self) -> None:
        super().resume_writing()
        pong, self._latest_pong = self._latest_pong, b""
        if pong and not self.close_sent and not self.transport.is_closing():
            self.transport.write(pong)

    def shutdown(self) -> None:
        """Close when the server stops; one that is closing already only gets what waits for it.

        uvicorn's would send a second close frame, and end the whole server's shutdown in the error of that.
        """
        if self.handshake_complete and self.conn.state is not State.OPEN:
            self.stop_keepalive()
            self.transport.close()
        else:
            super().shutdown()

    async def run_asgi(self) -> None:
        """Run the application, and end the connection at the latest a while after it."""
        await super().run_asgi()
        if not self.disconnected:
            self._end = self.loop.call_later(_MAX_CLOSING, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)


def close_reason(text: str) -> str:
    """The beginning of a text that fits a close frame: 123 bytes of UTF-8, whole characters (RFC 6455, 5.5.1)."""
    return text.encode(errors="replace")[:_MAX_REASON_BYTES].decode(errors="ignore")

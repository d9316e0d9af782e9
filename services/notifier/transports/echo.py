"""Echo, for a suite that tests our side of RFC 6455 (`make autobahn`); served only where a test sets it."""

from __future__ import annotations

from aiohttp import WSMsgType, web

from services.notifier.transports.masking import MaskedWebSocket
from services.notifier.transports.ws_api import answer_close

# The suite's largest message; what customers may send is far less.
_MAX_MESSAGE = 16 << 20


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send every message back unchanged."""
    socket = MaskedWebSocket(compress=False, autoclose=False, max_msg_size=_MAX_MESSAGE + 1)
    await socket.prepare(request)
    async for message in socket:
        payload = message.data.encode() if message.type is WSMsgType.TEXT else message.data
        await socket.send_frame(payload, message.type)
    await answer_close(socket)
    return socket

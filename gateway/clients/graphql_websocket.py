"""GraphQL over WebSocket, proxied message by message to graphql_server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import aiohttp

from chassis.clients.gateway import CLIENT_HEADER
from chassis.clients.websocket_client import websocket_session
from chassis.errors import ShopError, unavailable
from chassis.http.middleware import Application, Receive, Scope, Send
from chassis.http.websocket import close_reason
from chassis.observability.tracing import SpanKind, Telemetry, current_traceparent
from gateway.middleware.rate_limits import by_client

log = logging.getLogger(__name__)

PEER = "graphql_server"
PATHS = frozenset({"/graphql", "/graphql/ws"})
_TO_SERVER = (b"authorization", b"x-request-id")

# As much as a query may have.
MAX_MESSAGE_BYTES = 256 << 10
_CONNECT_SECONDS = 5.0
# Longer than the server's own timeout for a client that reads nothing, so that the server gives the reason.
_SEND_SECONDS = 20.0
_HEARTBEAT = 20.0

_GOING_AWAY = 1001
_TRY_AGAIN_LATER = 1013
_SERVICE_RESTART = 1012


def by_scheme(http: Application, websocket: Application) -> Application:
    """Requests to one application and GraphQL's WebSockets to the other. There are no other WebSockets: 403."""

    async def dispatching(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await http(scope, receive, send)
        elif scope["path"] in PATHS:
            await websocket(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    return dispatching


class GraphqlSocket:
    """Pure ASGI: one connection of a client is one connection to the server."""

    def __init__(self, url: str, telemetry: Telemetry) -> None:
        """`url` of the server, without a path."""
        self._url = f"{url.rstrip('/')}/graphql"
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        await receive()  # websocket.connect
        headers = dict(scope["headers"])
        # A session for each: its pool would give all sockets together no more places than queries have.
        async with websocket_session(self._telemetry) as session:
            try:
                server = await self._connect(session, scope, headers)
            except ShopError as error:
                log.warning("WebSocket to graphql_server failed", extra={"reason": repr(error.__cause__)})
                # Only after the upgrade can a browser see why.
                await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
                await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER, "reason": close_reason(error.code)})
                return
            await send({"type": "websocket.accept", "subprotocol": server.protocol})
            code = await _pass_on(server, receive, send)
        facts = {"status": code, "ms": round((time.perf_counter() - began) * 1000, 1)}
        logging.getLogger("access").info("WebSocket %s", scope["path"], extra=facts)

    async def _connect(
        self, session: aiohttp.ClientSession, scope: Scope, headers: dict[bytes, bytes]
    ) -> aiohttp.ClientWebSocketResponse:
        """Raises UPSTREAM_UNAVAILABLE."""
        with (
            self._telemetry.span(
                f"WebSocket {scope['path']}",
                SpanKind.SERVER,
                protocol="WebSocket",
                parent=headers.get(b"traceparent", b"").decode("latin-1"),
            ),
            self._telemetry.span("WebSocket /graphql", SpanKind.CLIENT, protocol="WebSocket", peer=PEER),
        ):
            passed_on = {name.decode(): headers[name].decode("latin-1") for name in _TO_SERVER if name in headers}
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await session.ws_connect(
                        self._url,
                        protocols=scope["subprotocols"],
                        headers={**passed_on, CLIENT_HEADER: by_client(scope), "traceparent": current_traceparent()},
                        heartbeat=_HEARTBEAT,
                        max_msg_size=0,  # the server's messages have its own limit
                    )
            except (aiohttp.ClientError, TimeoutError) as error:
                raise unavailable(PEER) from error


async def _pass_on(server: aiohttp.ClientWebSocketResponse, receive: Receive, send: Send) -> int:
    """Pass messages on both ways until one side closes, close the other, and return the code.

    Nothing is queued: a side that does not take its messages stops the other side's.
    """
    from_client = asyncio.create_task(_from_client(server, receive))
    from_server = asyncio.create_task(_from_server(server, send))
    try:
        await asyncio.wait({from_client, from_server}, return_when=asyncio.FIRST_COMPLETED)
        if from_client.done():
            code, reason = from_client.result()
            from_server.cancel()
            await server.close(code=_sendable(code), message=close_reason(reason).encode())
        else:
            code, reason = from_server.result()
            await _send_event(
                send, {"type": "websocket.close", "code": _sendable(code), "reason": close_reason(reason)}
            )
    finally:
        from_client.cancel()
        from_server.cancel()
        await asyncio.gather(from_client, from_server, return_exceptions=True)
    return code


async def _from_client(server: aiohttp.ClientWebSocketResponse, receive: Receive) -> tuple[int, str]:
    """Pass on until the client closes; its code and reason."""
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return event.get("code") or _GOING_AWAY, event.get("reason") or ""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):  # the other direction sees that it is gone
            async with asyncio.timeout(_SEND_SECONDS):
                if event.get("text") is not None:
                    await server.send_str(event["text"])
                else:
                    await server.send_bytes(event["bytes"])


async def _from_server(server: aiohttp.ClientWebSocketResponse, send: Send) -> tuple[int, str]:
    """Pass on until the server closes; its code and reason. One that is gone without a word is being restarted."""
    while True:
        message = await server.receive()
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                taken = await _send_event(send, {"type": "websocket.send", "text": message.data})
            case aiohttp.WSMsgType.BINARY:
                taken = await _send_event(send, {"type": "websocket.send", "bytes": message.data})
            case aiohttp.WSMsgType.CLOSE:
                return message.data or _GOING_AWAY, message.extra or ""
            case _:
                return _SERVICE_RESTART, "service restart"
        if not taken:
            return _TRY_AGAIN_LATER, "too slow"


def _sendable(code: int) -> int:
    """RFC 6455, 7.4.1: some codes only mean that there was none."""
    return _GOING_AWAY if code in {1004, 1005, 1006, 1015} else code


async def _send_event(send: Send, event: dict[str, Any]) -> bool:
    """Whether the client took it."""
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await send(event)
    except (OSError, TimeoutError):
        return False
    return True

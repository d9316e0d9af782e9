"""WebSocket (RFC 6455): the handshake, the frames of a client, and the end of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass

from aiohttp import WSMsgType, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol

from chassis.auth.identity import Principal
from chassis.errors import Kind, ShopError
from chassis.http.requests import handshake_refusal
from chassis.http.websocket import close_reason
from chassis.observability.tracing import Telemetry
from services.notifier import domain
from services.notifier.auth import Authenticator, subprotocol_of
from services.notifier.delivery.hub import Hub
from services.notifier.frames import Frame
from services.notifier.http_rules import refused_response
from services.notifier.metrics import Metrics
from services.notifier.ports import ChatLog, Orders
from services.notifier.transports.client_connection import TransportConnection
from services.notifier.transports.commands import Commands
from services.notifier.transports.masking import MaskedWebSocket
from services.notifier.transports.protocol import MAX_FRAME
from services.notifier.use_cases import Conversations

log = logging.getLogger(__name__)

# For what was written before the close frame to be taken, and for the client's own close frame to come back.
_CLOSE_SECONDS = 5.0


async def answer_close(socket: web.WebSocketResponse) -> None:
    """Answer the close frame that has ended a socket's messages; does nothing when the connection is over already.

    1006 means that there was no close frame, so it cannot come in one (RFC 6455, 7.4.1); the library lets it pass.
    """
    code = domain.PROTOCOL_ERROR if socket.close_code == domain.ABNORMAL_CLOSURE else domain.NORMAL_CLOSURE
    await socket.close(code=code, drain=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """Per connection: bytes that may wait for it, its frames a second and at once, seconds between pings."""

    backlog: int
    rate: float
    burst: float
    heartbeat: float


class WebSocketConnection(TransportConnection):
    protocol = "WebSocket"
    __slots__ = ("_closer", "_socket")

    def __init__(
        self, socket: web.WebSocketResponse, http: BaseProtocol, writer: AbstractStreamWriter, *, backlog: int
    ) -> None:
        super().__init__(http, writer, backlog=backlog)
        self._socket = socket
        self._closer: asyncio.Task[None] | None = None

    async def closed(self) -> None:
        """Wait until a close that has begun is over."""
        if self._closer is not None:
            await self._closer

    def _encoded(self, frame: Frame) -> bytes:
        return frame.websocket

    def _begin_close(self, code: int, reason: str) -> None:
        self._closer = asyncio.create_task(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._socket.close(code=code, message=close_reason(reason).encode())


class WebSocketApi:
    def __init__(
        self,
        hub: Hub,
        authenticator: Authenticator,
        orders: Orders,
        chat_log: ChatLog,
        telemetry: Telemetry,
        metrics: Metrics,
        limits: Limits,
    ) -> None:
        self._hub = hub
        self._authenticator = authenticator
        self._orders = orders
        self._chat_log = chat_log
        self._telemetry = telemetry
        self._metrics = metrics
        self._limits = limits

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection. A bad token gets a close code: a page cannot see the status of a handshake."""
        # aiohttp would speak the drafts 7 and 8 as well, and answer the rest with a status that names no version.
        if refused := handshake_refusal(request.raw_headers):
            return refused_response(refused)
        socket = MaskedWebSocket(
            # Answered only if it was offered, as the handshake demands.
            protocols=[subprotocol_of(request)],
            heartbeat=self._limits.heartbeat,
            timeout=_CLOSE_SECONDS,
            # Deflating halves what a copy delivers; events are small.
            compress=False,
            # The library refuses what is not below its limit.
            max_msg_size=MAX_FRAME + 1,
            # A ping counts as a frame, and not every close frame is in order: both are for us to see.
            autoping=False,
            autoclose=False,
        )
        writer = await socket.prepare(request)
        if request.transport is None:
            return socket  # gone already
        connection = WebSocketConnection(socket, request.protocol, writer, backlog=self._limits.backlog)
        try:
            try:
                principal = await self._authenticator.identify(request)
                await self._hub.position()
            except ShopError as error:
                connection.close(
                    domain.UNAUTHENTICATED if error.kind is Kind.UNAUTHENTICATED else domain.TRY_AGAIN_LATER, error.code
                )
            else:
                await self._serve(socket, connection, principal)
            await connection.closed()
            await answer_close(socket)
        except ConnectionError as error:
            log.debug("client disconnected", extra={"reason": str(error)})
        finally:
            self._give_up(socket, connection, request.transport)
        return socket

    async def _serve(
        self, socket: web.WebSocketResponse, connection: WebSocketConnection, principal: Principal
    ) -> None:
        with self._hub.connected(principal, connection) as session:
            conversations = Conversations(principal, self._orders, self._chat_log)
            commands = Commands(session, conversations, self._telemetry, self._metrics)
            bucket = domain.TokenBucket(self._limits.rate, self._limits.burst)
            try:
                async for message in socket:
                    allowed = bucket.take()
                    match message.type:
                        case WSMsgType.PING:
                            await socket.pong(message.data)
                        case WSMsgType.PONG | WSMsgType.ERROR:  # after an error the library has closed
                            pass
                        case _ if allowed:
                            commands.receive(message.data if message.type is WSMsgType.TEXT else "")
                        case _:
                            commands.refuse()
                    if not allowed:
                        # Reading no faster than that makes the client's own sending wait.
                        await asyncio.sleep(1 / self._limits.rate)
            finally:
                await commands.finish()

    def _give_up(
        self, socket: web.WebSocketResponse, connection: WebSocketConnection, transport: asyncio.Transport | None
    ) -> None:
        """Drop the unsent bytes of a connection that broke: else the kernel tries for a quarter of an hour."""
        if socket.close_code == domain.ABNORMAL_CLOSURE and socket.exception() is not None:
            if not connection.closing and isinstance(socket.exception(), TimeoutError):
                self._metrics.drops.labels("dead_peer").inc()
            if transport is not None:
                transport.abort()

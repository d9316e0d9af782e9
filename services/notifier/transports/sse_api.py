"""Server-sent events (WHATWG HTML, 9.2): the same events over plain HTTP, for clients that only listen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol

from chassis.auth.identity import Principal
from chassis.background import wait
from chassis.broker.event_log import Position
from services.notifier import frames
from services.notifier.auth import Authenticator
from services.notifier.delivery.hub import Hub
from services.notifier.domain import TRY_AGAIN_LATER, check_topics
from services.notifier.frames import Frame
from services.notifier.transports.client_connection import TransportConnection
from services.notifier.transports.protocol import position

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Turns off buffering in proxies, which would delay events.
    "X-Accel-Buffering": "no",
}
# Milliseconds until a browser reconnects.
_GREETING = b"retry: 1000\n\n"


class EventStreamConnection(TransportConnection):
    protocol = "SSE"
    __slots__ = ("_chunked", "_ended")

    def __init__(self, http: BaseProtocol, writer: AbstractStreamWriter, *, chunked: bool, backlog: int) -> None:
        super().__init__(http, writer, backlog=backlog)
        self._chunked = chunked
        self._ended = asyncio.Event()

    async def ended(self, *, heartbeat: float, reached: Callable[[], Position | None]) -> None:
        """Wait until the stream is to end.

        Every `heartbeat` seconds it detects a client that has gone, and sends the position reached. Without it a client
        that no event concerns would reconnect at its first position, and have everything since read again, or find it
        expired.
        """
        while not await wait(self._ended, heartbeat):
            self.send(frames.heartbeat(reached()))

    def _encoded(self, frame: Frame) -> bytes:
        return frame.event_stream_chunk if self._chunked else frame.event_stream

    def _begin_close(self, code: int, reason: str) -> None:  # noqa: ARG002 - an event stream has no way to say why
        self._ended.set()
        if code == TRY_AGAIN_LATER:
            self._transport.abort()


class EventStreamApi:
    def __init__(self, hub: Hub, authenticator: Authenticator, *, backlog: int, heartbeat: float) -> None:
        self._hub = hub
        self._authenticator = authenticator
        self._backlog = backlog
        self._heartbeat = heartbeat

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one stream. Raises `ShopError` before it has begun."""
        topics = check_topics(request.query.get("topics", "#").split(","))
        after = position(request.headers.get("Last-Event-ID") or request.query.get("after") or None)
        principal = await self._authenticator.identify(request)
        # Before the answer: a client that has it counts on every event from then on.
        now = await self._hub.position()
        response = web.StreamResponse(headers=_HEADERS)
        with contextlib.suppress(ConnectionError):  # a client that goes away is no error
            writer = await response.prepare(request)
            if writer is None:
                return response
            # aiohttp sends the headers with the first bytes of the body.
            await response.write(_GREETING)
            chunked = request.version >= HttpVersion11
            connection = EventStreamConnection(request.protocol, writer, chunked=chunked, backlog=self._backlog)
            await self._serve(connection, principal, topics, now if after is None else after)
        return response

    async def _serve(
        self, connection: EventStreamConnection, principal: Principal, topics: tuple[str, ...], after: Position
    ) -> None:
        with self._hub.connected(principal, connection) as session:
            await session.subscribe(topics, after)
            await connection.ended(heartbeat=self._heartbeat, reached=session.reached)

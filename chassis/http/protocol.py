"""One HTTP/1.1 connection: uvicorn's protocol, strict in framing, bounded in its head, and refusing with problems."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from chassis.http.connections import Connections, client_network
from chassis.http.requests import (
    HEAD_TOO_LARGE,
    HEAD_TOO_SLOW,
    MAX_HEAD_BYTES,
    MAX_TARGET_BYTES,
    METHODS,
    NOT_HTTP,
    TARGET_TOO_LONG,
    Refusal,
    Refused,
    combined,
    handshake_refusal,
    has_body,
    head_size,
    refusal,
)
from chassis.observability.tracing import Telemetry

log = logging.getLogger(__name__)

# Of a response whose client has stopped reading; the default of 64 KiB is most of what such a client costs.
_MAX_UNSENT_BYTES = 8 << 10
# Seconds that a client may take for a head.
_HEAD_TIMEOUT = 10.0
# How what comes before a response's head begins, and a field of a head, as uvicorn writes them.
_CONTINUE = b"HTTP/1.1 100 "
_LENGTH = b"\r\ncontent-length: "
# Answered however much work there is.
_PROBES = frozenset({b"/healthz", b"/readyz"})
_OVERLOADED = Refusal(503, "OVERLOADED", "too many requests are under way; try again later", {"retry-after": "1"})


class Protocol(HttpToolsProtocol):
    """uvicorn's, for requests whose framing no two servers can read differently."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        open_connections: Connections,
        singular: Collection[bytes],
        telemetry: Telemetry | None = None,
    ) -> None:
        """`singular`: header fields that a request may have once; with `telemetry`, refusals are recorded."""
        super().__init__(config, server_state, app_state, _loop)
        self._telemetry = telemetry
        self._open_connections = open_connections
        self._singular = singular
        self._address = ""
        # Bytes of the head that is coming in, of those packets that hold nothing else; None within a body.
        self._head_bytes: int | None = 0
        self._shares_packet = False
        self._in_head = False
        self._trailer_bytes = 0
        # Whether the request names a protocol to switch to, so that the parser has left out its body.
        self._upgrade = False
        # Whether nothing that still comes is read: the connection is about to be closed, or is a WebSocket's.
        self._ended = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
        self._address = client_network(self.client[0]) if self.client else ""
        self._late = self.loop.call_later(_HEAD_TIMEOUT, self._too_late)
        self._open_connections.opened(self, self._address, transport.abort, others=self._websockets)

    def _too_late(self) -> None:
        """Refuse a head that is not complete in time; only close if the client has sent nothing at all."""
        if self._in_head:
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()
        self._open_connections.closed(self, self._address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data and not self._ended:
            # Never more of an unfinished head than it may have.
            room = MAX_HEAD_BYTES - (self._head_bytes or 0)
            piece, data = data[:room], data[room:]
            self._shares_packet = False
            data = self._parse(piece) + data
            if self._head_bytes is not None and not self._shares_packet:
                self._head_bytes += len(piece)
                if self._head_bytes >= MAX_HEAD_BYTES:
                    self._refuse(TARGET_TOO_LONG if len(self.url) > MAX_TARGET_BYTES else HEAD_TOO_LARGE)
        self._await_head()

    def _await_head(self) -> None:
        """Give an incomplete head, while nothing is being answered, its time to be complete."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._in_head and self._late.cancelled() and not self._ended and not answering:
            self._late = self.loop.call_later(_HEAD_TIMEOUT, self._too_late)

    def _parse(self, piece: bytes) -> bytes:
        """Feed the parser, and return what is to be parsed next."""
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserError:
            self._refuse(NOT_HTTP)
        except httptools.HttpParserUpgrade as upgrade:
            return self._after_upgrade(piece[upgrade.args[0] :])
        return b""

    def _after_upgrade(self, rest: bytes) -> bytes:
        """Switch to the WebSocket protocol, or read the request again as if it named no protocol to switch to.

        The parser takes whatever follows the head of such a request for the other protocol, but a server that does not
        switch reads its body as of any other (RFC 9110, section 7.8).
        """
        self._upgrade = False
        if self._ended:
            return b""
        if self._switches():
            if (refused := handshake_refusal(self.headers)) is not None:
                self._refuse(refused)
                return b""
            self._ended = True
            self._open_connections.closed(self, self._address)
            self.handle_websocket_upgrade()
            return b""
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode()]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [b"\r\n", name, b": ", value]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"".join(head) + b"\r\n\r\n" + rest

    @property
    def _websockets(self) -> int:
        """WebSockets of this server, connections that have left this protocol; 0 as long as there is room for any."""
        if len(self.connections) < self._open_connections.limit:
            return 0
        return sum(not isinstance(each, Protocol) for each in self.connections)

    def _switches(self) -> bool:
        """Whether a WebSocket is opened (RFC 6455, section 4.1). Not while former requests are being answered."""
        under_way = self.cycle is not None and not self.cycle.response_complete
        return (
            self._should_upgrade()
            and self.scope["method"] == "GET"
            and self.parser.get_http_version() == "1.1"
            and not has_body(self.headers)
            and not under_way
        )

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._in_head = True
        self._trailer_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_bytes is not None:
            super().on_header(name, value)
            return
        # A trailer: nothing here has a use for one, and it must not pass for the header (RFC 9110, section 6.5.1).
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        if self._ended:
            return
        self._head_bytes = None
        self._in_head = False
        self._late.cancel()
        self.scope["method"] = method = self.parser.get_method().decode("ascii")
        refused = refusal(method, self.url, self.parser.get_http_version(), self.headers, self._singular)
        if refused is None and head_size(self.url, self.headers) > MAX_HEAD_BYTES:
            # Parts of it came in the packets of another request, where they were not counted.
            refused = HEAD_TOO_LARGE
        if refused is not None:
            self._refuse(refused)
            return
        self._open_connections.begins(self, self._address)
        if self._overloaded():
            self._refuse(_OVERLOADED)
            return
        self.headers[:] = combined(self.headers)
        if self.parser.should_upgrade():
            self._upgrade = True
            return
        super().on_headers_complete()
        if method != "HEAD":
            # All that it uses of a transport.
            self.cycle.transport = _HeadWithBody(self.transport)  # type: ignore[assignment]

    def _overloaded(self) -> bool:
        path = self.url.partition(b"?")[0]
        working = self._open_connections.working + self._websockets
        return path not in _PROBES and working > self._open_connections.limit

    def on_body(self, body: bytes) -> None:
        if not self._ended and not self._upgrade:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._shares_packet = True
        self._head_bytes = 0
        if not self._ended and not self._upgrade:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:
            self._open_connections.rests(self, self._address)
            self._await_head()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        app = _any_resource if cycle.scope.get("path") == "*" else app

        async def taken(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            finally:
                if self.flow.write_paused and not cycle.response_complete:
                    self._give_up(cycle)

        super()._start_asgi_task(cycle, taken)

    def _give_up(self, cycle: RequestResponseCycle) -> None:
        """End a connection whose response was given up while its client took nothing of it.

        uvicorn would wait until the client takes the rest, or an error's response, which may be never.
        """
        if not cycle.disconnected:
            cycle.disconnected = True
            self.transport.abort()

    def _refuse(self, refused: Refusal) -> None:
        """Answer what cannot be a request, after those before it, and close the connection."""
        if self._ended or self.transport.is_closing():
            return
        self._ended = True
        self._late.cancel()
        log.info("request refused: %s", refused.message, extra={"code": refused.code, "client": self._address})
        before = self.cycle
        waits = before is not None and not before.response_complete
        if before is not None and waits and before.more_body:
            # The body of this one ends in what is no HTTP: its application gets a disconnect.
            before.disconnected = True
            before.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
            elif before.response_started:
                self.transport.close()
                return
            else:
                waits = False
        # An incomplete head has no method and target yet.
        method_and_path = (self.scope["method"], self.url.decode("latin-1")) if self._head_bytes is None else ("", "")
        self._answer(Refused(refused, self.transport, self._telemetry, *method_and_path), waits=waits)

    def _answer(self, app: Refused, *, waits: bool) -> None:
        self._open_connections.begins(self, self._address)
        self.cycle = RequestResponseCycle(
            scope={"type": "http", "method": "GET", "headers": []},  # type: ignore[typeddict-item]  # all it looks at
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        if waits:
            self.pipeline.appendleft((self.cycle, app))
        else:
            self._start_asgi_task(self.cycle, app)


class _HeadWithBody:
    """The transport of a response: a head of a known length leaves with the beginning of its body.

    uvloop makes a system call of each write, and each is a packet of its own, for which a client wakes up. ASGI lets a
    server wait so. A head without a length, as an event stream's, leaves at once.
    """

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._begun = False
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif self._begun or data.startswith(_CONTINUE):
            self._transport.write(data)
        else:
            self._begun = True
            if _LENGTH in data:
                self._head = data
            else:
                self._transport.write(data)

    def close(self) -> None:
        """Close, also after a response that failed behind its head: the client can see that it is not whole."""
        if self._head:
            self._transport.write(self._head)
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


async def _any_resource(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's shape
    """ASGI: `OPTIONS *`, a question to the server and to no path of any application."""
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", METHODS.encode())]})
    await send({"type": "http.response.body"})

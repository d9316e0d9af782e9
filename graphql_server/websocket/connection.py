"""One WebSocket connection: what it may use, what belongs to it, and how it is read, written and closed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from starlette.websockets import WebSocketDisconnect
from strawberry.asgi import ASGIWebSocketAdapter
from strawberry.http.exceptions import NonJsonMessageReceived, NonTextMessageReceived, WebSocketDisconnected

from chassis.auth.identity import TokenVerifier
from chassis.clients.gateway import GatewayClient
from chassis.clients.notifier import Notifier
from chassis.http.websocket import close_reason
from chassis.observability.tracing import Telemetry
from graphql_server.document_cache import Documents

# RFC 6455 and IANA: a client comes back by itself after 1013. The protocol's own: it comes back after 4403, since it
# may have a new token by then, and not after 4400.
TRY_AGAIN_LATER = 1013
BAD_REQUEST = 4400
FORBIDDEN = 4403
INTERNAL = 4500

# Seconds for a close frame to be taken.
_CLOSE_TIMEOUT = 1.0


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """Connections of this process, and of one client; for each of them, operations at once and messages a second.

    Seconds: to say `connection_init`, to take what is sent, and for a query or one event's response.
    """

    connections: int
    connections_of_client: int
    operations: int
    rate: float
    init_timeout: timedelta
    send_timeout: float
    budget: float


@dataclass(slots=True)
class SocketServices:
    """The state shared by all connections; `open` counts them by client."""

    gateway: GatewayClient
    notifier: Notifier
    verifier: TokenVerifier
    telemetry: Telemetry
    limits: SocketLimits
    open: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class SocketContext:
    """One connection: `caller` is sent upstream, `connection_params` is the payload of its init.

    `client` is its client's address as the gateway has it, empty for one that did not come by the gateway.
    """

    services: SocketServices
    documents: Documents
    caller: dict[str, str]
    client: str = ""
    connection_params: Mapping[str, Any] | None = None
    expires_at: float | None = None


class Closed(Exception):
    """The connection is to be closed with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class SocketAdapter(ASGIWebSocketAdapter):
    """Strawberry's, which ends reading when it closes, and does not wait for ever for a client that takes nothing."""

    closed_with: int | None = None
    send_timeout: float | None = None
    _reading: asyncio.Timeout | None = None

    async def iter_json(self, *, ignore_parsing_errors: bool = False) -> AsyncGenerator[object, None]:
        while self.closed_with is None:
            try:
                message = self.view.decode_json(await self._received())
            except (TimeoutError, WebSocketDisconnect):
                return
            except KeyError as error:
                raise NonTextMessageReceived from error
            except orjson.JSONDecodeError as error:
                if ignore_parsing_errors:
                    continue
                raise NonJsonMessageReceived from error
            yield message
            del message  # while the next one is waited for, which may take days

    async def _received(self) -> str:
        """The next message's text. Raises `TimeoutError` once the connection is closed."""
        async with asyncio.timeout(None) as reading:
            self._reading = reading
            try:
                return await self.ws.receive_text()
            finally:
                # A `close` that follows must not end what is over, such as the reading of a binary message.
                self._reading = None

    async def send_json(self, message: Mapping[str, object]) -> None:
        """Raises `Closed` for a client that takes nothing in time."""
        if self.closed_with is not None:
            raise WebSocketDisconnected
        try:
            async with asyncio.timeout(self.send_timeout):
                await self.ws.send_text(orjson.dumps(message).decode())
        except TimeoutError:
            raise Closed(TRY_AGAIN_LATER, "too slow") from None
        except WebSocketDisconnect as error:
            raise WebSocketDisconnected from error

    async def close(self, code: int, reason: str) -> None:
        """Close, and stop reading: a client that takes nothing would not answer the close either."""
        if self.closed_with is not None:
            return
        self.closed_with = code
        # Not delivered to a client that is gone, or that takes nothing.
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(_CLOSE_TIMEOUT):
                await self.ws.close(code, close_reason(reason))
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())

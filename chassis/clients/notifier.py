"""The notifier's stream of events (see the surface, "Real time"), read with the subscriber's own token.

One connection for each subscription: what a client does not take in time waits in that connection and then at the
notifier, which bounds it; a queue of ours would only be one more place to fill up.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from chassis.clients.websocket_client import websocket_session
from chassis.errors import Kind, ShopError, unavailable
from chassis.observability.tracing import SpanKind, Telemetry

log = logging.getLogger(__name__)

PEER = "notifier"
_UNAUTHENTICATED = 4401
_HEARTBEAT = 20.0
_MAX_FRAME_BYTES = 1 << 20
# Seconds to connect, and to wait before each new attempt; after the last one the subscription ends.
_CONNECT_TIMEOUT = 5.0
_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)
# After a connection has held so long, the attempts are counted anew.
_STABLE_SECONDS = 5.0


class _Away(Exception):
    """The notifier takes no connection."""


class Notifier:
    def __init__(self, session: aiohttp.ClientSession, url: str, telemetry: Telemetry) -> None:
        """`url` without a path."""
        self._session = session
        self._url = f"{url.rstrip('/')}/notifications"
        self._telemetry = telemetry

    async def events(
        self, caller: Mapping[str, str], topics: Sequence[str], after: str | None = None, *, acknowledged: bool = False
    ) -> AsyncGenerator[Any, None]:
        """The events of these topics that this caller may see, each once, over as many connections as it takes.

        `caller` is what is passed on of their request's header; `after` a position, None for from now on. Each event is
        the notifier's frame, a dict with `id`, `type`, `time`, `subject` and `data`. With `acknowledged`, the first is
        the notifier's `subscribed`: whatever happens after that is not missed.

        Raises UNAUTHENTICATED when the token is not valid (any more), EVENTS_MISSED when the notifier's memory does not
        reach back to the position, UPSTREAM_UNAVAILABLE when it cannot be reached.
        """
        if "Authorization" not in caller:
            raise ShopError("UNAUTHENTICATED", "events need a valid access token", Kind.UNAUTHENTICATED)
        attempt, position = 0, after
        while True:
            began = time.monotonic()
            try:
                async with self._connected(caller, topics, position) as socket:
                    async for message in socket:
                        if message.type is not aiohttp.WSMsgType.TEXT:
                            break  # of a connection that is dead: a ping without its pong
                        frame = _checked(orjson.loads(message.data))
                        if frame["type"] == "subscribed":
                            # Where to go on even if nothing ever comes over this connection.
                            position = position or frame["position"]
                            if acknowledged:
                                acknowledged = False
                                yield frame
                        else:
                            position = frame["id"]
                            yield frame
            except (_Away, aiohttp.ClientError) as error:
                log.info("notifier connection lost: reconnecting", extra={"reason": str(error)})
            if time.monotonic() - began > _STABLE_SECONDS:
                attempt = 0
            if attempt == len(_PAUSES):
                raise unavailable(PEER)
            await asyncio.sleep(_PAUSES[attempt])
            attempt += 1

    @asynccontextmanager
    async def _connected(
        self, caller: Mapping[str, str], topics: Sequence[str], position: str | None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        subscription: dict[str, Any] = {"action": "subscribe", "topics": [*topics]}
        if position is not None:
            subscription["after"] = position
        with self._telemetry.span(f"subscribe {' '.join(topics)}", SpanKind.CLIENT, protocol="WebSocket", peer=PEER):
            try:
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    socket = await self._session.ws_connect(
                        self._url,
                        headers=caller,
                        heartbeat=_HEARTBEAT,
                        max_msg_size=_MAX_FRAME_BYTES,
                        timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                    )
            except (aiohttp.ClientError, TimeoutError) as error:
                raise _Away(repr(error)) from error
        try:
            await socket.send_str(orjson.dumps(subscription).decode())
            yield socket
        finally:
            await socket.close()
        if socket.close_code == _UNAUTHENTICATED:
            raise ShopError(
                "UNAUTHENTICATED", "the access token is no longer valid: connect with a new one", Kind.UNAUTHENTICATED
            )


def _checked(frame: Any) -> Any:
    """A frame of the notifier. Raises the error that a frame reports."""
    match frame["type"]:
        case "resync":
            message = (
                "events since that position are no longer kept: read the orders, then subscribe without a position"
            )
            raise ShopError("EVENTS_MISSED", message, Kind.CONFLICT)
        case "error":
            raise ShopError(frame["code"], frame["message"], Kind.INVALID)
    return frame


@asynccontextmanager
async def notifier_client(
    url: str, telemetry: Telemetry, *, trust: ssl.SSLContext | None = None
) -> AsyncIterator[Notifier]:
    """The notifier at this URL; nothing is opened before it is needed."""
    # As many connections as there are subscriptions, which are bounded elsewhere.
    async with websocket_session(telemetry, trust) as session:
        yield Notifier(session, url, telemetry)

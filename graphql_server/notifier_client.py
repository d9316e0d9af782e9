"""The notifier's stream of events (see the surface, "Real time"), read as whoever subscribed here.

One connection for each subscription: what a client does not take in time waits in that connection and then at the
notifier, which bounds it; a queue of ours would only be one more place to fill up.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import orjson

from chassis.errors import Kind, ShopError, unavailable
from chassis.telemetry import SpanKind, Telemetry
from graphql_server.loaders import Row

log = logging.getLogger(__name__)

PEER = "notifier"
_UNAUTHENTICATED = 4401
_HEARTBEAT = 20.0
_LARGEST_FRAME = 1 << 20
# Seconds to connect, and before each new attempt; after the last one the subscription ends.
_PATIENCE = 5.0
_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)
# A connection that has held so long was one; the attempts are counted anew.
_STABLE_SECONDS = 5.0
# Event -> the status that the order has then. What is not here is news of a later version of the shop.
_STATUS_AFTER = {
    "order.placed": "pending",
    "order.confirmed": "confirmed",
    "order.paid": "paid",
    "order.shipped": "shipped",
    "order.delivered": "shipped",
    "order.rejected": "rejected",
    "order.cancelled": "cancelled",
}

# Updates of the caller's orders after a position (None: from now on), as rows.
OrderEvents = Callable[[str | None], AsyncGenerator[Row, None]]


class _Away(Exception):
    """The notifier takes no connection."""


class Notifier:
    def __init__(self, session: aiohttp.ClientSession, url: str, telemetry: Telemetry) -> None:
        """`url` without a path."""
        self._session = session
        self._url = f"{url.rstrip('/')}/notifications"
        self._telemetry = telemetry

    def order_events(self, caller: Mapping[str, str]) -> OrderEvents:
        """The events that this caller may see; `caller` is what is passed on of their request's header."""

        async def events(after: str | None) -> AsyncGenerator[Row, None]:
            if "Authorization" not in caller:
                raise ShopError("UNAUTHENTICATED", "a valid access token is needed", Kind.UNAUTHENTICATED)
            async with aclosing(self._frames(caller, after)) as frames:
                async for frame in frames:
                    status = _STATUS_AFTER.get(frame["type"])
                    if status is not None:
                        yield {
                            "id": frame["subject"],
                            "status": status,
                            "event": frame["type"],
                            "time": frame["time"],
                            "position": frame["id"],
                        }

        return events

    async def _frames(self, caller: Mapping[str, str], position: str | None) -> AsyncGenerator[Any, None]:
        """Events, each once, over as many connections as it takes.

        Raises UNAUTHENTICATED when the token is not valid (any more), EVENTS_MISSED when the notifier's memory does not
        reach back to the position, UPSTREAM_UNAVAILABLE when it cannot be reached.
        """
        attempt = 0
        while True:
            began = time.monotonic()
            try:
                async with self._connected(caller, position) as socket:
                    async for message in socket:
                        frame = _checked(orjson.loads(message.data))
                        if frame["type"] == "subscribed":
                            # Where to go on even if nothing ever comes over this connection.
                            position = position or frame["position"]
                        else:
                            position = frame["id"]
                            yield frame
            except (_Away, aiohttp.ClientError) as error:
                log.info("the notifier is away", extra={"reason": str(error)})
            if time.monotonic() - began > _STABLE_SECONDS:
                attempt = 0
            if attempt == len(_PAUSES):
                raise unavailable(PEER)
            await asyncio.sleep(_PAUSES[attempt])
            attempt += 1

    @asynccontextmanager
    async def _connected(
        self, caller: Mapping[str, str], position: str | None
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        subscription: dict[str, Any] = {"action": "subscribe", "topics": ["order.*"]}
        if position is not None:
            subscription["after"] = position
        with self._telemetry.span("subscribe order.*", SpanKind.CLIENT, protocol="WebSocket", peer=PEER):
            try:
                async with asyncio.timeout(_PATIENCE):
                    socket = await self._session.ws_connect(
                        self._url,
                        headers=caller,
                        heartbeat=_HEARTBEAT,
                        max_msg_size=_LARGEST_FRAME,
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
            raise ShopError("UNAUTHENTICATED", "the access token is not valid any more", Kind.UNAUTHENTICATED)


def _checked(frame: Any) -> Any:
    """A frame of the notifier. Raises what it says has gone wrong."""
    match frame["type"]:
        case "resync":
            message = "what has happened since that position is not known any more: read the orders"
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
    connector = aiohttp.TCPConnector(limit=0, ssl=trust or True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Notifier(session, url, telemetry)

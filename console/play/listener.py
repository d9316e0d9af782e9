"""The customer's page, played: a WebSocket to the notifier for a while after each order that is placed from here.

So an order's trace ends where a customer would see it end.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import suppress

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from chassis.background import wait

log = logging.getLogger(__name__)

# Seconds that a connection stays after the last order of its account.
_KEEP = 60.0
_OPEN_TIMEOUT = 15.0
# Seconds that an order waits for its subscription at most: without one, its trace ends a hop sooner.
_MAX_WAIT = 3.0


class Listener:
    """One connection for each account, made when it is first needed."""

    def __init__(self, url: str, trust: ssl.SSLContext | None = None) -> None:
        """`url` is the notifier's WebSocket; `trust` is for wss."""
        self._url = url
        self._trust = trust
        self._until: dict[str, float] = {}
        self._listening: dict[str, asyncio.Task[None]] = {}

    async def listen(self, account: str, token: str) -> None:
        """Be subscribed to the account's orders when this returns; without a notifier there are no events.

        A notifier that does not answer soon is waited for no longer: the subscription follows when it does.
        """
        self._until[account] = time.monotonic() + _KEEP
        if account not in self._listening or self._listening[account].done():
            subscribed = asyncio.Event()
            self._listening[account] = asyncio.create_task(self._listen(account, token, subscribed))
            await wait(subscribed, _MAX_WAIT)

    async def close(self) -> None:
        for task in self._listening.values():
            task.cancel()
        await asyncio.gather(*self._listening.values(), return_exceptions=True)

    async def _listen(self, account: str, token: str, subscribed: asyncio.Event) -> None:
        try:
            headers = {"authorization": f"Bearer {token}"}
            async with connect(
                self._url, additional_headers=headers, ssl=self._trust, open_timeout=_OPEN_TIMEOUT, proxy=None
            ) as socket:
                await socket.send(orjson.dumps({"action": "subscribe", "topics": ["order.*"]}).decode())
                while (left := self._until[account] - time.monotonic()) > 0:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await socket.recv()
                            subscribed.set()
        except (OSError, WebSocketException) as error:
            log.warning("console: notifier unavailable", extra={"reason": str(error) or type(error).__name__})
        finally:
            subscribed.set()

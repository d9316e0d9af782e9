"""Responses whose bytes are produced while they are sent."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from chassis.errors import ShopError
from chassis.http.middleware import Receive, Scope, Send
from gateway.http.disconnects import while_connected

log = logging.getLogger(__name__)


class Streamed(Response):
    """Sends chunks as fast as the client takes them, and closes their source when they end or the client goes.

    In the request's own task, unlike Starlette's StreamingResponse: spans and deadlines are bound to the task that
    opened them.
    """

    def __init__(
        self, chunks: AsyncIterator[bytes], source: AsyncExitStack, *, status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(None, status, headers)
        self._chunks = chunks
        self._source = source
        if "content-length" not in headers:
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        async with self._source:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in self._chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if await request.is_disconnected():
                    return
            await send({"type": "http.response.body", "body": b""})


class EventStream(Streamed):
    """A stream whose next chunk may take long: a client that has gone is noticed meanwhile.

    When what it comes from breaks off, it ends: its readers begin again, as those of server-sent events do.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # What breaks off is translated where the source ends.
            async with self._source:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await while_connected(Request(scope, receive), self._pass_on(send))
        except ClientDisconnect:
            return
        except ShopError as error:
            log.warning("event stream aborted: upstream failed", extra={"reason": str(error)})
        await send({"type": "http.response.body", "body": b""})

    async def _pass_on(self, send: Send) -> None:
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

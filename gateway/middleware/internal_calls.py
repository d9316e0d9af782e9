"""Internal calls: requests that graphql_server and mcp_server make for a user whose request was already admitted.

It shows its own token in `X-Shop-Service` beside the user's in `Authorization`. Such a call is not counted against the
user again, and what is left of the query's time, `X-Timeout-Ms`, is all the time that it has. A call for what came over
a WebSocket, which was not counted, has the client's address in `X-Shop-Client`, and is counted as that client's.
"""

from __future__ import annotations

import asyncio
import logging

from chassis.auth.identity import TokenVerifier, bearer
from chassis.clients.gateway import CLIENT_HEADER, TIMEOUT_HEADER
from chassis.errors import ShopError
from chassis.http.middleware import Application, Receive, Scope, Send

log = logging.getLogger(__name__)

_CALLERS = ("graphql_server", "mcp_server")
_KEY = "shop.counted"
_CLIENT_KEY = "shop.client"
_CLIENT = CLIENT_HEADER.lower().encode()
_TIMEOUT = TIMEOUT_HEADER.encode()


class InternalCalls:
    """Pure ASGI: recognises these calls. The header of any other caller makes no difference."""

    def __init__(self, app: Application, verifier: TokenVerifier, *, timeout: float) -> None:
        """`timeout` in seconds for the verification: the request's own deadline begins after it."""
        self._app = app
        self._verifier = verifier
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == b"x-shop-service":
                if await self._is_ours(value.decode("latin-1")):
                    client = next((given.decode("latin-1") for key, given in scope["headers"] if key == _CLIENT), "")
                    scope[_KEY], scope[_CLIENT_KEY] = not client, client
                break
        await self._app(scope, receive, send)

    async def _is_ours(self, value: str) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                return (await self._verifier.verify(bearer(value))).is_service(*_CALLERS)
        except (ShopError, TimeoutError) as error:
            # Any client may send one.
            log.info("invalid X-Shop-Service token", extra={"reason": str(error) or "users did not answer in time"})
            return False


def is_counted(scope: Scope) -> bool:
    """Whether a request belongs to one that was counted already."""
    counted: bool = scope.get(_KEY, False)
    return counted


def client_of_call(scope: Scope) -> str:
    """The client for whose WebSocket an internal call is made; empty for all other requests."""
    client: str = scope.get(_CLIENT_KEY, "")
    return client


def seconds_left(scope: Scope) -> float | None:
    """Seconds left to an internal call, as its caller states them; None for other requests.

    Not for clients: one with hardly any time would make an upstream look slow.
    """
    if not is_counted(scope):
        return None
    for name, value in scope["headers"]:
        if name == _TIMEOUT and value.isdigit() and len(value) < 10:
            return int(value) / 1000
    return None

"""Internal calls: requests that graphql_server and mcp_server make for a user whose request was already admitted.

It shows its own token in `X-Shop-Service` beside the user's in `Authorization`. Such a call is not counted against the
user again, and what is left of the query's time, `X-Timeout-Ms`, is all the time that it has.
"""

from __future__ import annotations

import logging

from chassis.auth.identity import TokenVerifier, bearer
from chassis.clients.gateway import TIMEOUT_HEADER
from chassis.errors import ShopError
from chassis.http.middleware import Application, Receive, Scope, Send

log = logging.getLogger(__name__)

_CALLERS = ("graphql_server", "mcp_server")
_KEY = "shop.counted"
_TIMEOUT = TIMEOUT_HEADER.encode()


class ServiceCalls:
    """Pure ASGI: recognises these calls. The header of any other caller makes no difference."""

    def __init__(self, app: Application, verifier: TokenVerifier) -> None:
        self._app = app
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in scope["headers"]:
            if name == b"x-shop-service":
                scope[_KEY] = await self._is_ours(value.decode("latin-1"))
                break
        await self._app(scope, receive, send)

    async def _is_ours(self, value: str) -> bool:
        try:
            return (await self._verifier.verify(bearer(value))).is_service(*_CALLERS)
        except ShopError as error:
            log.warning("invalid X-Shop-Service token", extra={"reason": str(error)})
            return False


def is_counted(scope: Scope) -> bool:
    """Whether a request belongs to one that was counted already."""
    counted: bool = scope.get(_KEY, False)
    return counted


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

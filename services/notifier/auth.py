"""Authentication of notifier clients: a page's origin and the client's token."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from chassis.auth.identity import Principal, TokenVerifier, bearer
from chassis.errors import Kind, ShopError
from chassis.http.origin_check import origin_allowed

_SUBPROTOCOL = "bearer."


class Count:
    """The number of running blocks. One for all, since a generator for each takes 300 bytes while its block runs."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1


class Authenticator:
    def __init__(self, verifier: TokenVerifier, *, allowed_origins: Sequence[str], max_clients: int) -> None:
        self._verifier = verifier
        self._allowed_origins = allowed_origins
        self._max_clients = max_clients
        # A block for as long as each client is there.
        self.clients = Count()

    def admit(self, request: web.Request) -> None:
        """Raise FOREIGN_ORIGIN for a page that may not connect, TOO_MANY_CLIENTS when this copy is full."""
        if not origin_allowed(request.headers.get("Origin"), request.host, self._allowed_origins):
            raise ShopError("FOREIGN_ORIGIN", "pages of this origin may not connect", Kind.FORBIDDEN)
        if self.clients.count >= self._max_clients:
            raise ShopError(
                "TOO_MANY_CLIENTS", "too many clients: connect again later", Kind.UNAVAILABLE, retry_after=1.0
            )

    async def identify(self, request: web.Request) -> Principal:
        """Principal of the token. Raises UNAUTHENTICATED, INVALID_TOKEN, or UPSTREAM_UNAVAILABLE."""
        token = (
            bearer(request.headers.get("Authorization"))
            or request.query.get("token", "")
            or subprotocol_of(request).removeprefix(_SUBPROTOCOL)
        )
        if not token:
            raise ShopError("UNAUTHENTICATED", "missing or invalid access token", Kind.UNAUTHENTICATED)
        return await self._verifier.verify(token)


def subprotocol_of(request: web.Request) -> str:
    """The subprotocol that carries a token, which is how a page's script can send one; empty when there is none."""
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ())).split(",")
    return next((name.strip() for name in offered if name.strip().startswith(_SUBPROTOCOL)), "")

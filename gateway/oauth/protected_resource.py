"""MCP's authorization, seen by the resource: where a client finds out whose tokens are taken (RFC 9728)."""

from __future__ import annotations

from starlette.datastructures import Headers

from chassis.errors import Kind, ShopError
from chassis.http.middleware import Application, Message, Receive, Scope, Send

PATH = "/mcp"
# The one scope that there is: to act for the user, by the server's tools.
SCOPE = "shop"
METADATA_PATH = f"/.well-known/oauth-protected-resource{PATH}"


def base_url(scope: Scope, public_url: str | None) -> str:
    """The gateway's own address without a path: as configured, or for "" as the client named it.

    Raises NOT_FOUND where it is None: a forged Host could else point clients to an attacker's server.
    """
    if public_url is None:
        raise ShopError("NOT_FOUND", "this gateway has no public address: set SHOP_PUBLIC_URL", Kind.NOT_FOUND)
    return public_url or f"{scope['scheme']}://{Headers(scope=scope).get('host', '')}"


class McpChallenge:
    """Pure ASGI: a 401 of /mcp names in `WWW-Authenticate` the address of the resource's metadata."""

    def __init__(self, app: Application, public_url: str | None) -> None:
        self._app = app
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or self._public_url is None:
            await self._app(scope, receive, send)
            return
        url = base_url(scope, self._public_url) + METADATA_PATH

        async def challenged(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 401:
                message["headers"] = [_pointing(name, value, url) for name, value in message["headers"]]
            await send(message)

        await self._app(scope, receive, challenged)


def _pointing(name: bytes, value: bytes, url: str) -> tuple[bytes, bytes]:
    if name.lower() != b"www-authenticate":
        return name, value
    return name, value + f', resource_metadata="{url}", scope="{SCOPE}"'.encode("latin-1")

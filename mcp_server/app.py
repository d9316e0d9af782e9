"""The ASGI application: MCP's Streamable HTTP at /mcp for callers with a valid token, and the process's health."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST
from starlette.responses import JSONResponse, Response

from chassis.auth.identity import AUDIENCE, MCP_AUDIENCE, TokenVerifier, act_as, bearer, check, signed_in
from chassis.background import background
from chassis.errors import Kind, ShopError
from chassis.http.middleware import Application, Receive, Scope, Send, send_problem
from chassis.observability.tracing import current_span

# Of each message of each client, which the access log has already.
logging.getLogger("mcp").setLevel(logging.WARNING)

PATH = "/mcp"
MAX_BODY_BYTES = 256 << 10
# An agent's token (RFC 8707), or one of the whole shop.
_AUDIENCES = (MCP_AUDIENCE, AUDIENCE)
_INVALID_ID = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": INVALID_REQUEST, "message": "Invalid Request: id must be a string or a whole number"},
}


@asynccontextmanager
async def application(server: MCPServer[Any], verifier: TokenVerifier) -> AsyncIterator[Application]:
    """The application, for as long as the block runs. No session is kept: any copy answers any request."""
    manager = StreamableHTTPSessionManager(
        server._lowlevel_server,  # noqa: SLF001  # what `MCPServer.streamable_http_app` does, without its Starlette
        stateless=True,
        json_response=True,
        max_request_body_size=MAX_BODY_BYTES,
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in ("/healthz", "/readyz"):
            await Response(b'{"status":"ok"}', media_type="application/json")(scope, receive, send)
        elif path == PATH and scope["method"] != "POST":
            # No session is kept that could be listened to (GET) or ended (DELETE).
            error = ShopError("METHOD_NOT_ALLOWED", "use POST", Kind.INVALID)
            await send_problem(send, error, headers={"allow": "POST"})
        elif path != PATH:
            await send_problem(send, ShopError("NOT_FOUND", f"the only resource here is {PATH}", Kind.NOT_FOUND))
        else:
            await _for_the_caller(scope, receive, send)

    async def _for_the_caller(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            principal = await verifier.verify(bearer(headers.get(b"authorization")), _AUDIENCES)
            check(signed_in, principal)
        except ShopError as error:
            await send_problem(send, error)
            return
        # To the end of the request's own task.
        act_as(principal)
        if method := headers.get(b"mcp-method"):
            current_span().update_name(" ".join(filter(None, (method, headers.get(b"mcp-name")))))
        body, again = await _read(receive)
        if _has_no_id_that_is_one(body):
            await JSONResponse(_INVALID_ID, status_code=400)(scope, receive, send)
            return
        await manager.handle_request(scope, again, send)

    ready = asyncio.Event()

    async def manage() -> None:
        async with manager.run():
            ready.set()
            await asyncio.Event().wait()  # until it is cancelled

    # In a task of its own: the SDK's manager has to be left by the task that entered it.
    async with background(manage()):
        await ready.wait()
        yield answer


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """A request's body, as far as it is of a size that is served, and what receives it all once more."""
    taken: list[Any] = []
    body = bytearray()
    while True:
        taken.append(message := await receive())
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > MAX_BODY_BYTES:
            break
    messages = iter(taken)

    async def again() -> Any:
        for message in messages:
            return message
        return await receive()

    return bytes(body), again


def _has_no_id_that_is_one(body: bytes) -> bool:
    """Whether a message is a request, whose id is none by MCP: an object, a fraction, null.

    The SDK takes it for a notification in the revisions before 2026-07-28, so that its client would wait for ever.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return False  # the SDK's text names what is wrong
    if not isinstance(message, dict) or "method" not in message or "id" not in message:
        return False
    return isinstance(message["id"], bool) or not isinstance(message["id"], (int, str))

"""MCP, passed on as it is."""

from __future__ import annotations

from contextlib import AsyncExitStack

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from chassis.errors import Kind, ShopError
from chassis.http.origin_check import origin_listed
from chassis.observability.tracing import current_span
from gateway.clients.services import upstreams
from gateway.http.disconnects import while_connected
from gateway.http.streaming import EventStream
from gateway.middleware.auth import SIGNED_IN
from gateway.oauth.protected_resource import PATH

# Not in the OpenAPI document: MCP describes itself.
router = APIRouter(include_in_schema=False)

_TO_SERVER = (
    "authorization",
    "accept",
    "content-type",
    "x-request-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
)
# MCP 2026-07-28: arguments that a tool's schema shows to intermediaries, as headers.
_PARAMETER = "mcp-param-"
_TO_CLIENT = ("content-type", "content-length", "allow", "cache-control", "retry-after", "www-authenticate")


# No GET and no DELETE: no session is kept that could be listened to or ended.
@router.post(PATH, dependencies=[SIGNED_IN])
async def mcp(request: Request) -> Response:
    """Pass a message on to mcp_server, and its answer back: JSON, or a stream of events."""
    # Not our own Host, which a page can rebind: MCP, Streamable HTTP, security.
    origin = request.headers.get("origin")
    if origin is not None and not origin_listed(origin, request.app.state.mcp_origins):
        raise ShopError("FOREIGN_ORIGIN", "pages of this origin may not call /mcp", Kind.FORBIDDEN)
    headers = {
        name: value for name, value in request.headers.items() if name in _TO_SERVER or name.startswith(_PARAMETER)
    }
    body = await request.body()
    called = " ".join(request.headers.get(name, "") for name in ("mcp-method", "mcp-name")).strip()
    current_span().update_name(called or f"POST {PATH}")
    async with AsyncExitStack() as source:
        answer = await while_connected(
            request,
            source.enter_async_context(upstreams(request).http.mcp.request(request.method, PATH, "", headers, body)),
        )
        passed_on = {name: answer.headers[name] for name in _TO_CLIENT if name in answer.headers}
        passed_on.setdefault("cache-control", "no-store")
        return EventStream(answer.content.iter_any(), source.pop_all(), status=answer.status, headers=passed_on)

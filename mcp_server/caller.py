"""The caller: the gateway as the agent's user sees it, and its refusals as the tools' own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError

from chassis.auth.identity import current_principal
from chassis.clients.gateway import Gateway, GatewayClient
from chassis.errors import Kind, ShopError
from mcp_server.token_exchange import TokenExchange

# The headers that identify the user of a request.
Caller = Callable[["Call"], Awaitable[Mapping[str, str]]]


def by_request(exchange: TokenExchange) -> Caller:
    """The user whose token is in the request, over HTTP."""

    async def caller(ctx: Call) -> Mapping[str, str]:
        token = await exchange.token_for(current_principal())
        headers = {name.lower(): value for name, value in (ctx.headers or {}).items()}
        named = {"X-Request-ID": headers["x-request-id"]} if "x-request-id" in headers else {}
        return {"Authorization": f"Bearer {token}", **named}

    return caller


class Shop:
    """The shop's REST API on behalf of the caller."""

    def __init__(self, client: GatewayClient, caller: Caller, *, counted: bool) -> None:
        """`counted`: the gateway has counted the request against its user's limits, and does not do so again."""
        self._client = client
        self._caller = caller
        self._counted = counted

    async def on_behalf_of(self, ctx: Call) -> Gateway:
        """The gateway as the user of this call sees it."""
        return self._client.on_behalf_of(await self._caller(ctx), counted=self._counted)


# A call of a tool or resource, in a server whose lifespan has a `Shop`.
Call = Context[Shop, Any]


async def gateway(ctx: Call) -> Gateway:
    """The gateway as the user of this call sees it."""
    return await ctx.request_context.lifespan_context.on_behalf_of(ctx)


@contextmanager
def as_tool_error() -> Iterator[None]:
    """A refusal of the shop becomes the tool's own error: the stable code first, then what is wrong."""
    try:
        yield
    except ShopError as error:
        raise ToolError(_sentence(error)) from error


@contextmanager
def as_resource_error(uri: str) -> Iterator[None]:
    """The same for a resource; what is not there, or not this user's to see, is not found."""
    try:
        yield
    except ShopError as error:
        if error.kind is Kind.NOT_FOUND:
            raise ResourceNotFoundError(f"{uri} does not exist, or is not yours to see") from error
        raise ResourceError(_sentence(error)) from error


def _sentence(error: ShopError) -> str:
    fields = "".join(f"; {name}: {reason}" for name, reason in error.fields.items())
    again = f" (try again in {error.retry_after:.0f} s)" if error.retry_after else ""
    return f"{error.code}: {error.message}{fields}{again}"

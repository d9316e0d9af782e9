"""Resources: a product and an order as JSON, and the news of both."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import orjson
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY, ResourceUpdated, event_to_notification
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

from chassis.auth.identity import current_principal
from chassis.clients.gateway import is_identifier
from chassis.clients.notifier import Notifier
from chassis.errors import ShopError
from mcp_server.caller import Call, Shop, as_resource_error, gateway

MAX_SUBSCRIPTIONS = 1_000
# Of one user, so that one user cannot take them all.
MAX_OF_A_USER = 50
_MAX_URIS = 100
_SCHEMES = {"order": "order://", "product": "product://"}
_TOPICS = ("order.*", "product.*")


async def product(product_id: str, ctx: Call) -> str:
    """A product as the REST API has it."""
    return await _row(ctx, "product", product_id)


async def order(order_id: str, ctx: Call) -> str:
    """An order of the user's own (an administrator may read any) as the REST API has it."""
    return await _row(ctx, "order", order_id)


async def _row(ctx: Call, kind: str, row_id: str) -> str:
    if not is_identifier(row_id):
        raise ResourceNotFoundError(f"{kind}://{row_id[:64]} does not exist")
    with as_resource_error(f"{kind}://{row_id}"):
        row = await (await gateway(ctx)).get(f"/v1/{kind}s/{quote(row_id, safe='')}")
    return orjson.dumps(row, option=orjson.OPT_INDENT_2).decode()


def add_resources(server: MCPServer[Shop]) -> None:
    """Add the resources to a server; each is read with its own caller's token."""
    server.resource("product://{product_id}", title="A product", mime_type="application/json")(product)
    server.resource("order://{order_id}", title="An order", mime_type="application/json")(order)


class Subscriptions:
    """`subscriptions/listen` (MCP 2026-07-28): one request is one stream, fed by the notifier with the caller's token.

    The notifier sends a user only events that concern them, and so does this. Nothing is replayed: a client that
    connects again reads the resources again, as the specification says.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        # User -> how many of theirs are open.
        self._open: Counter[str] = Counter()

    async def __call__(
        self, ctx: ServerRequestContext[Shop, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Acknowledge the subscription, then send each change until the client goes or the token expires."""
        if ctx.request_id is None:
            raise MCPError(INVALID_REQUEST, "subscriptions/listen needs a request id")
        uris = _known(params.notifications)
        user = current_principal().subject
        if self._open[user] >= MAX_OF_A_USER:
            raise MCPError(INVALID_REQUEST, f"at most {MAX_OF_A_USER} subscriptions of a user can be open; end another")
        if self._open.total() >= MAX_SUBSCRIPTIONS:
            raise MCPError(INTERNAL_ERROR, "too many subscriptions are open; try again later")
        self._open[user] += 1
        try:
            return await self._stream(ctx, uris)
        finally:
            self._open[user] -= 1
            if not self._open[user]:
                del self._open[user]

    async def _stream(self, ctx: ServerRequestContext[Shop, Any], uris: list[str]) -> SubscriptionsListenResult:
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        try:
            await self._send_changes(ctx, uris, meta)
        except ShopError as error:
            raise MCPError(INTERNAL_ERROR, f"{error.code}: {error.message}") from error
        return SubscriptionsListenResult(_meta=meta)

    async def _send_changes(self, ctx: ServerRequestContext[Shop, Any], uris: list[str], meta: dict[str, Any]) -> None:
        caller_gateway = await gateway(Context(request_context=ctx))
        if (await caller_gateway.get("/v1/users/me"))["role"] != "admin":
            # The notifier sends changes of products to administrators alone: others are not promised any.
            uris = [uri for uri in uris if uri.startswith(_SCHEMES["order"])]
        honored = SubscriptionFilter(resource_subscriptions=uris or None)
        async with aclosing(self._notifier.events(caller_gateway.caller, _TOPICS, acknowledged=True)) as events:
            # The first is the notifier's own acknowledgement: nothing that happens from here on is missed.
            await anext(events)
            params = SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
            await ctx.session.send_notification(
                SubscriptionsAcknowledgedNotification(params=params), related_request_id=ctx.request_id
            )
            async for event in events:
                uri = f"{_SCHEMES.get(event['type'].partition('.')[0], '')}{event['subject']}"
                if uri in uris:
                    news = event_to_notification(ResourceUpdated(uri=uri), meta)
                    await ctx.session.send_notification(news, related_request_id=ctx.request_id)


def _known(wanted: SubscriptionFilter) -> list[str]:
    """The resources of a filter that can change. Lists of tools and prompts never do: they are not acknowledged."""
    uris = [str(uri) for uri in wanted.resource_subscriptions or ()]
    if len(uris) > _MAX_URIS:
        raise MCPError(INVALID_REQUEST, f"subscription must have at most {_MAX_URIS} resources")
    return [uri for uri in uris if uri.startswith(tuple(_SCHEMES.values()))]

"""The tools that every user's agent has: looking at products, ordering, and following an order."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from mcp.server.mcpserver import Elicit, MCPServer, Resolve
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from chassis.clients.gateway import Gateway
from mcp_server.caller import Call, Shop, as_tool_error, gateway
from mcp_server.shapes import (
    Availability,
    Event,
    Identifier,
    Key,
    NewItem,
    Order,
    OrderStatus,
    ProductPage,
    order,
    product,
)

READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
# It adds an order; two calls with one key add one.
_ADDS_ONCE = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=True)
_ENDS_SOMETHING = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
)
# Since this revision a server can ask the user within a call that keeps no connection.
_ELICITS_SINCE = "2026-07-28"
_CONFIRM = (
    "The user has agreed to exactly these items. Only for a client without elicitation:"
    " any other asks its user, whatever is given here."
)

Items = Annotated[list[NewItem], Field(min_length=1, max_length=50)]


class Confirmation(BaseModel):
    confirm: bool = Field(description="Place this order?")


async def search_products(
    ctx: Call,
    query: Annotated[str, Field(max_length=100, description="Words in name or description.")] = "",
    category: Annotated[str, Field(max_length=50, description="For example books, hardware, courses.")] = "",
    limit: Annotated[int, Field(ge=1, le=50)] = 10,
    cursor: Annotated[str, Field(max_length=500)] = "",
) -> ProductPage:
    """Find products by words and category. Prices are decimals in the product's own currency."""
    with as_tool_error():
        found = await (await gateway(ctx)).get(
            "/v1/products", q=query or None, category=category or None, limit=limit, cursor=cursor or None
        )
    return ProductPage(items=[product(row) for row in found["items"]], next_cursor=found["next_cursor"])


async def check_availability(
    ctx: Call, product_ids: Annotated[list[Identifier], Field(min_length=1, max_length=100)]
) -> Availability:
    """List how many of each product can be ordered now."""
    with as_tool_error():
        found = await (await gateway(ctx)).get("/v1/availability", product_ids=",".join(product_ids))
    return Availability.model_validate(found)


async def confirmation(ctx: Call, items: Items, confirm: bool) -> Confirmation | Elicit[Confirmation]:
    """The user's answer to this order: by elicitation where the client can, whatever `confirm` is; else `confirm`."""
    if not _can_elicit(ctx):
        return Confirmation(confirm=confirm)
    with as_tool_error():
        question = await _question(await gateway(ctx), items)
    return Elicit(question, Confirmation)


async def place_order(
    ctx: Call,
    items: Items,
    idempotency_key: Key,
    answer: Annotated[Confirmation, Resolve(confirmation)],
    confirm: Annotated[bool, Field(description=_CONFIRM)] = False,  # noqa: ARG001, FBT002  # read by `confirmation`
) -> Order:
    """Order products for the user. It costs money: the user must agree, in the client's form or before you `confirm`.

    The answer is immediate, with the status pending; order_status shows the progress.
    """
    if not answer.confirm:
        raise ToolError(
            "NOT_CONFIRMED: nothing was ordered. Show the user the items and their prices, and call again when they"
            " agree, with confirm: true if your client has no elicitation."
        )
    with as_tool_error():
        body = {"items": [item.model_dump() for item in items]}
        row, _ = await (await gateway(ctx)).post("/v1/orders", body, {"Idempotency-Key": idempotency_key})
    return order(row)


async def order_status(ctx: Call, order_id: Identifier) -> OrderStatus:
    """An order's status, its items, and what has happened to it so far."""
    with as_tool_error():
        row = await (await gateway(ctx)).get(f"/v1/orders/{order_id}")
        history = await (await gateway(ctx)).get(f"/v1/orders/{order_id}/events")
    events = [Event(type=event["type"], time=event["time"]) for event in history["items"]]
    return OrderStatus(order=order(row), history=events)


async def cancel_order(ctx: Call, order_id: Identifier) -> Order:
    """Cancel an order that has not been paid. Refused with a reason once it is too late."""
    with as_tool_error():
        row, _ = await (await gateway(ctx)).post(f"/v1/orders/{order_id}/cancel", {})
    return order(row)


def _can_elicit(ctx: Call) -> bool:
    """Whether the client can put a question to its user in the middle of a call."""
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        return False
    return (ctx.protocol_version or "") >= _ELICITS_SINCE


async def _question(shop: Gateway, items: list[NewItem]) -> str:
    """The order in a sentence, with its cost by the shop's own prices."""
    ids = ",".join(sorted({item.product_id for item in items}))
    found = {row["id"]: row for row in (await shop.get("/v1/products", ids=ids))["items"]}
    if missing := sorted({item.product_id for item in items} - found.keys()):
        raise ToolError(f"NOT_FOUND: there is no product {', '.join(missing)}")
    lines = [f"{item.quantity} x {found[item.product_id]['name']}" for item in items]
    totals: dict[str, Decimal] = {}
    for item in items:
        row = found[item.product_id]
        totals[row["currency"]] = totals.get(row["currency"], Decimal(0)) + item.quantity * Decimal(row["price"])
    price = " and ".join(f"{amount} {currency}" for currency, amount in sorted(totals.items()))
    return f"Order {', '.join(lines)} for {price}?"


def add_tools(server: MCPServer[Shop]) -> None:
    """Add the tools to a server; each calls the gateway with its own caller's token."""
    server.add_tool(search_products, title="Search products", annotations=READ_ONLY)
    server.add_tool(check_availability, title="Check availability", annotations=READ_ONLY)
    server.add_tool(place_order, title="Place an order", annotations=_ADDS_ONCE)
    server.add_tool(order_status, title="Look at an order", annotations=READ_ONLY)
    server.add_tool(cancel_order, title="Cancel an order", annotations=_ENDS_SOMETHING)

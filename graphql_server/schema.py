"""The graph: its types, queries and mutations. Every answer is read from the gateway.

What crosses a boundary may be null: when one service is away, its part of the answer is missing, with an error that
names the path, and the rest is there.

Values are the rows of the REST API as they came; a type lists which of a row's values are shown (see `row_executor`).
As a program, this module writes the schema in GraphQL's own language, which `docs/schema.graphql` has to be.
"""

# A decorator with arguments has no type in Strawberry.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from enum import Enum
from operator import getitem
from typing import Annotated, Any, Generic, NewType, TypeVar

import strawberry
from graphql import GraphQLError
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types.execution import ExecutionContext
from strawberry.types.scalar import ScalarDefinition

from chassis.clients.gateway import Gateway, is_identifier
from chassis.errors import invalid, not_found
from graphql_server.extension_hooks import HooksRunner
from graphql_server.limits import MAX_PAGE
from graphql_server.loaders import Loaders, Row
from graphql_server.order_events import OrderEvents
from graphql_server.relay_pagination import connection
from graphql_server.row_executor import Join, RowExecutor, joined

_DEFAULT_PAGE = 20
_HEADER_VALUE = re.compile(r"[\x21-\x7e]{1,255}")
# List field -> its rows without an argument, for the cost of a query.
SIZES = {
    "orders": _DEFAULT_PAGE,
    "ordersConnection": _DEFAULT_PAGE,
    "products": _DEFAULT_PAGE,
    "productsConnection": _DEFAULT_PAGE,
    "items": 5,
}
# Field -> its cost, where that is not 1: the ERP is called live, once for each product.
WEIGHTS = {"availability": 10}

# As they come from the gateway: there is nothing to be gained from parsing what is only passed on.
DecimalString = NewType("DecimalString", str)
Timestamp = NewType("Timestamp", str)
Node = TypeVar("Node")
First = Annotated[int | None, strawberry.argument(description="Maximum number of items: 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="The cursor after which to go on.")]


class Context:
    """The state shared by the resolvers of one operation."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        order_events: OrderEvents | None = None,
        event_scope: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`order_events` where subscriptions are answered; `event_scope` gives each event a trace and a deadline."""
        self.gateway = gateway
        self.loaders = Loaders(gateway)
        self.order_events = order_events
        # Response keys of mutations that placed nothing: their idempotency key was known.
        self.replayed: list[str] = []
        self._event_scope = event_scope

    @contextmanager
    def event(self) -> Iterator[None]:
        """The response to one event of a subscription: it sees rows as they are now, not as an earlier event did."""
        with self._event_scope():
            self.loaders = Loaders(self.gateway)
            yield


Info = strawberry.Info[Context, None]


def _page_size(argument: str, wanted: int | None) -> int:
    if wanted is None:
        return _DEFAULT_PAGE
    if not 1 <= wanted <= MAX_PAGE:
        raise invalid(f"{argument} must be 1 to {MAX_PAGE}", **{argument: f"must be 1 to {MAX_PAGE}"})
    return wanted


def _limited(limit: int | None) -> int:
    return _page_size("limit", limit)


@strawberry.enum
class OrderStatus(Enum):
    pending = "pending"
    confirmed = "confirmed"
    paid = "paid"
    shipped = "shipped"
    rejected = "rejected"
    cancelled = "cancelled"


@strawberry.type(description="Availability of a product; `stale` while the ERP does not answer.")
class Availability:
    available: int
    stale: bool
    as_of: Timestamp


@strawberry.type
class Product:
    id: strawberry.ID
    name: str
    description: str
    category: str
    price: DecimalString
    currency: str
    image_url: str
    updated_at: Timestamp
    availability = joined(Availability | None, "availability", key="id")


@strawberry.type
class OrderItem:
    product_id: strawberry.ID
    name: str
    quantity: int
    unit_price: DecimalString
    product = joined(
        Product | None,
        "products",
        key="product_id",
        description="The product as it is now; null when it is no longer sold.",
    )


@strawberry.type
class Order:
    id: strawberry.ID
    user_id: strawberry.ID
    status: OrderStatus
    status_reason: str | None
    items: list[OrderItem]
    total: DecimalString
    currency: str
    placed_at: Timestamp


@strawberry.type(description="Relay: position of a page in the list.")
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Edge(Generic[Node]):
    cursor: str
    node: Node


@strawberry.type
class Connection(Generic[Node]):
    edges: list[Edge[Node]]
    page_info: PageInfo


@strawberry.type
class User:
    id: strawberry.ID
    name: str
    email: str
    role: str

    @strawberry.field(
        graphql_type=list[Order] | None,
        description="The newest orders first.",
        metadata={"join": Join("orders", "id", limited=_limited)},
    )
    @staticmethod
    async def orders(root: strawberry.Parent[Any], info: Info, limit: int | None = _DEFAULT_PAGE) -> Any:
        return await info.context.loaders.orders(_limited(limit)).load(root["id"])

    @strawberry.field(graphql_type=Connection[Order] | None, description="The newest orders first, in Relay's form.")
    @staticmethod
    async def orders_connection(
        root: strawberry.Parent[Any], info: Info, first: First = _DEFAULT_PAGE, after: After = None
    ) -> Row:
        async def page(cursor: str, limit: int) -> Any:
            return await info.context.gateway.get("/v1/orders", user_id=root["id"], limit=limit, cursor=cursor or None)

        return await connection(page, _page_size("first", first), after)


@strawberry.enum(description="The field to group sales by.")
class SalesBy(Enum):
    day = "day"
    product = "product"
    customer = "customer"


@strawberry.type(description="Orders that were paid on a day, had a product or were a customer's, in one currency.")
class Sales:
    key: str = strawberry.field(description="The day, the product's id or the customer's.")
    name: str | None = strawberry.field(description="Name of the product at the time of the order.")
    currency: str
    orders: int
    quantity: int
    revenue: DecimalString


@strawberry.type(description="Sales, counted from the event log.")
class SalesReport:
    by: SalesBy
    since: Timestamp | None = strawberry.field(
        description="The oldest event that was read: sales before it are not counted."
    )
    as_of: Timestamp | None = strawberry.field(description="The newest event that was read.")
    gap_at: Timestamp | None = strawberry.field(
        description="Time at which missing events were last noticed; null if never."
    )
    unknown_orders: int = strawberry.field(
        description="Number of paid orders that are not counted: the log lacks their items."
    )
    items: list[Sales]
    next_cursor: str | None


@strawberry.type
class Query:
    @strawberry.field(graphql_type=User | None, description="The caller.")
    async def me(self, info: Info) -> Any:
        return await info.context.gateway.get("/v1/users/me")

    @strawberry.field(graphql_type=User | None, description="A user: the caller, or any user for an admin.")
    async def user(self, info: Info, id: strawberry.ID) -> Any:  # noqa: A002  # the argument's name
        return await info.context.loaders.users.load(id)

    @strawberry.field(graphql_type=Product | None)
    async def product(self, info: Info, id: strawberry.ID) -> Any:  # noqa: A002
        return await info.context.loaders.products.load(id)

    @strawberry.field(graphql_type=list[Product] | None)
    async def products(
        self, info: Info, category: str | None = None, q: str | None = None, limit: int | None = _DEFAULT_PAGE
    ) -> Any:
        size = _limited(limit)
        return (await info.context.gateway.get("/v1/products", category=category, q=q, limit=size))["items"]

    @strawberry.field(graphql_type=Connection[Product] | None, description="Products in Relay's form.")
    async def products_connection(
        self,
        info: Info,
        category: str | None = None,
        q: str | None = None,
        first: First = _DEFAULT_PAGE,
        after: After = None,
    ) -> Row:
        async def page(cursor: str, limit: int) -> Any:
            return await info.context.gateway.get(
                "/v1/products", category=category, q=q, limit=limit, cursor=cursor or None
            )

        return await connection(page, _page_size("first", first), after)

    @strawberry.field(graphql_type=Order | None)
    async def order(self, info: Info, id: strawberry.ID) -> Any:  # noqa: A002
        return await info.context.loaders.order.load(id)

    @strawberry.field(graphql_type=SalesReport | None, description="Sales; for admins.")
    async def sales_report(
        self,
        info: Info,
        first_day: Annotated[str | None, strawberry.argument(name="from", description="Such as 2026-01-01.")] = None,
        last_day: Annotated[str | None, strawberry.argument(name="to", description="Such as 2026-01-31.")] = None,
        by: SalesBy = SalesBy.day,
        limit: First = MAX_PAGE,
        cursor: After = None,
    ) -> Any:
        days = {"from": first_day or None, "to": last_day or None}
        size = MAX_PAGE if limit is None else _limited(limit)
        return await info.context.gateway.get(
            "/v1/reports/sales", **days, by=by.value, limit=size, cursor=cursor or None
        )


@strawberry.input
class NewItem:
    product_id: strawberry.ID
    quantity: int


@strawberry.input
class PlaceOrderInput:
    items: list[NewItem]
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="Chosen by the client: a repeat with the same key places nothing new, and is named in the "
        "response's `extensions.idempotencyReplayed`.",
    )


@strawberry.type
class Mutation:
    @strawberry.mutation(graphql_type=Order | None, description="Accepts an order as `pending`.")
    async def place_order(self, info: Info, input: PlaceOrderInput) -> Any:  # noqa: A002
        items = [{"product_id": item.product_id, "quantity": item.quantity} for item in input.items]
        headers = {} if input.idempotency_key is None else {"Idempotency-Key": _header_value(input.idempotency_key)}
        order, answered = await info.context.gateway.post("/v1/orders", {"items": items}, headers)
        if answered.get("Idempotency-Replayed") == "true":
            info.context.replayed.append(str(info.path.key))
        return order

    @strawberry.mutation(graphql_type=Order | None)
    async def cancel_order(self, info: Info, id: strawberry.ID) -> Any:  # noqa: A002
        if not is_identifier(id):
            raise not_found("order", id)
        order, _ = await info.context.gateway.post(f"/v1/orders/{id}/cancel", {})
        return order


@strawberry.type(description="A change of an order, and the status that the order has since.")
class OrderUpdate:
    id: strawberry.ID = strawberry.field(description="The order's id.")
    status: OrderStatus
    event: str = strawberry.field(description="Such as `order.paid`.")
    time: Timestamp
    position: str = strawberry.field(description="Position at which to resume after an interruption: see `after`.")
    order = joined(Order | None, "order", key="id", description="The order as it is now.")


@strawberry.type
class Subscription:
    @strawberry.subscription(
        graphql_type=OrderUpdate,
        description="Changes of the caller's orders (for an admin: of all), or of one order.",
    )
    async def order_updates(
        self,
        info: Info,
        order_id: strawberry.ID | None = None,
        after: Annotated[
            str | None, strawberry.argument(description="A `position`: events since then are sent first.")
        ] = None,
    ) -> AsyncGenerator[Any, None]:
        if info.context.order_events is None:
            raise invalid("send subscriptions over a WebSocket (graphql-transport-ws)")
        if order_id is not None and await info.context.loaders.order.load(order_id) is None:
            raise not_found("order", order_id)
        async with aclosing(info.context.order_events(after)) as events:
            async for event in events:
                if order_id in (None, event["id"]):
                    # Left when the next event is requested: the response has been sent by then.
                    with info.context.event():
                        yield event


class Replays(SchemaExtension):
    """Names in `extensions.idempotencyReplayed` the mutations that answered as before and placed nothing."""

    def get_results(self) -> dict[str, Any]:
        context: Context = self.execution_context.context
        return {"idempotencyReplayed": context.replayed} if context.replayed else {}


class ShopSchema(strawberry.Schema):
    """Strawberry's schema, with the rules of this edge about errors."""

    @staticmethod
    def remove_field_suggestion(error: GraphQLError) -> None:
        """Remove any suggestion, not only of a field: called where the configuration allows none."""
        error.message = error.message.partition(" Did you mean")[0]

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        """Log nothing: `errors.response_of` does, beside the trace id that the client is given."""

    def create_extensions_runner(
        self, execution_context: ExecutionContext, extensions: list[SchemaExtension]
    ) -> HooksRunner:
        return HooksRunner(execution_context, extensions)


def graphql_schema(*, extensions: Sequence[Callable[[], SchemaExtension]] = (), suggestions: bool = True) -> ShopSchema:
    """The schema. `suggestions`: whether an error names what the client may have meant."""
    scalars: dict[object, ScalarDefinition] = {
        DecimalString: strawberry.scalar(name="Decimal", description="A decimal number, exact, as a string."),
        Timestamp: strawberry.scalar(name="DateTime", description="A moment in UTC (RFC 3339)."),
    }
    config = StrawberryConfig(scalar_map=scalars, default_resolver=getitem, disable_field_suggestions=not suggestions)
    return ShopSchema(
        Query, Mutation, Subscription, config=config, extensions=extensions, execution_context_class=RowExecutor
    )


def _header_value(key: str) -> str:
    if not _HEADER_VALUE.fullmatch(key):
        raise invalid("invalid idempotency key", idempotencyKey="must be 1 to 255 visible ASCII characters")
    return key


if __name__ == "__main__":
    sys.stdout.write(graphql_schema().as_str() + "\n")

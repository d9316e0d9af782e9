"""The notifier's events about orders, as the rows of the subscription `orderUpdates`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from chassis.clients.notifier import Notifier
from chassis.errors import Kind, ShopError
from graphql_server.loaders import Row

# Updates of the caller's orders after a position (None: from now on), as rows.
OrderEvents = Callable[[str | None], AsyncGenerator[Row, None]]

# Event -> the status that the order has then. What is not here changes no status, or is news of a later version.
_STATUS_AFTER = {
    "order.placed": "pending",
    "order.delayed": "pending",
    "order.confirmed": "confirmed",
    "order.paid": "paid",
    "order.shipped": "shipped",
    "order.delivered": "shipped",
    "order.rejected": "rejected",
    "order.cancelled": "cancelled",
}


def order_events(notifier: Notifier, caller: Mapping[str, str]) -> OrderEvents:
    """The events that this caller may see; `caller` is what is passed on of their request's header."""

    async def events(after: str | None) -> AsyncGenerator[Row, None]:
        if "Authorization" not in caller:
            raise ShopError("UNAUTHENTICATED", "orderUpdates needs a valid access token", Kind.UNAUTHENTICATED)
        async with aclosing(notifier.events(caller, ["order.*"], after)) as frames:
            async for frame in frames:
                status = _STATUS_AFTER.get(frame["type"])
                if status is not None:
                    yield {
                        "id": frame["subject"],
                        "status": status,
                        "event": frame["type"],
                        "time": frame["time"],
                        "position": frame["id"],
                    }

    return events

"""Chat about an order, between its customer and the support."""

from __future__ import annotations

from chassis.auth.identity import Principal
from chassis.errors import not_found
from services.notifier.ports import ChatLog, Orders

_MAX_ROOMS = 100


class Conversations:
    """Messages of one client. A room is an order's id; only the order's customer and admins are in it."""

    __slots__ = ("_chat_log", "_orders", "_owners", "_principal")

    def __init__(self, principal: Principal, orders: Orders, chat_log: ChatLog) -> None:
        self._principal = principal
        self._orders = orders
        self._chat_log = chat_log
        # Room -> owner. Asked once per connection: an order does not change hands.
        self._owners: dict[str, str] = {}

    async def post(self, room: str, text: str) -> None:
        """Post a text to a room. Raises NOT_FOUND when it is none of the client's, or UPSTREAM_UNAVAILABLE."""
        owner = self._owners.get(room) or await self._enter(room)
        await self._chat_log.post(order_id=room, owner=owner, author=self._principal.subject, text=text)

    async def _enter(self, room: str) -> str:
        owner = await self._orders.owner(room)
        # Orders has checked it; zero trust checks it again.
        if not (self._principal.is_admin or self._principal.subject == owner):
            raise not_found("order", room)
        if len(self._owners) >= _MAX_ROOMS:
            del self._owners[next(iter(self._owners))]
        self._owners[room] = owner
        return owner

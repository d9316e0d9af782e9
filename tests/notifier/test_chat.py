"""Chat about an order: through the broker, so that copies share rooms; only for the order's customer and
administrators."""

from __future__ import annotations

import pytest

from chassis.broker.event_log import START
from services.notifier import clients
from tests.notifier.conftest import Stage, token


async def test_two_copies_share_a_room(any_stage: Stage) -> None:
    """Customer and support at different copies read each other, and a later member reads what was said."""
    async with (
        any_stage.notifier() as one,
        any_stage.notifier() as other,
        one.client() as customer,
        other.client(token("1", "admin")) as support,
    ):
        await customer.subscribe("chat.*")
        await support.subscribe("chat.*")
        await customer.send(action="chat", room="o1", text=" Where is it? ")
        for client in (customer, support):
            frame = await client.receive()
            if frame["type"] == "posted":  # the answer and the event may overtake each other
                frame = await client.receive()
            assert (frame["type"], frame["subject"]) == ("chat.posted", "o1")
            data = frame["data"]
            assert (data["author_id"], data["user_id"], data["text"]) == ("123", "123", "Where is it?")
        await support.send(action="chat", room="o1", text="On its way.")
        async with other.client() as late:
            await late.subscribe("chat.*", after="0")
            assert [frame["data"]["text"] for frame in await late.events(2)] == ["Where is it?", "On its way."]


async def test_text_is_acknowledged(stage: Stage) -> None:
    """A client that is not subscribed learns that its text is in the log."""
    async with stage.notifier() as copy, copy.client() as client:
        await client.send(action="chat", room="o1", text="hello")
        assert await client.receive() == {"type": "posted", "room": "o1"}


async def test_stranger_may_not_chat(stage: Stage) -> None:
    """Another customer's order and one that does not exist are refused alike, and nothing is said."""
    async with stage.notifier() as copy, copy.client(token("456")) as stranger, copy.client() as owner:
        for client, room in ((stranger, "o1"), (owner, "o2")):
            await client.send(action="chat", room=room, text="hello")
            answer = await client.receive()
            assert (answer["type"], answer["code"]) == ("error", "NOT_FOUND")
    assert await stage.broker.log.last_position() == START


async def test_orders_is_asked_once_per_room_and_token(stage: Stage) -> None:
    """A room's order is read on behalf of each client, and once, however many connections the client has."""
    customers, admins = token(), token("1", "admin")
    async with stage.notifier() as copy:
        for each in (customers, customers, admins):
            async with copy.client(each) as client:
                for text in ("one", "two", "three"):
                    await client.send(action="chat", room="o1", text=text)
                    assert (await client.receive())["type"] == "posted"
    assert stage.orders.asked == ["123", "1"]


async def test_owners_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound, the owner that was read first is read again."""
    asked: list[str] = []

    class Asked:
        """A stub of orders that records the calls it gets."""

        async def owner(self, order_id: str) -> str:
            asked.append(order_id)
            return "123"

    monkeypatch.setattr(clients, "_MAX_OWNERS", 2)
    orders = clients.CachedOrders(Asked())
    for order_id in ("o1", "o2", "o2", "o3", "o2", "o1"):
        assert await orders.owner(order_id) == "123"
    assert asked == ["o1", "o2", "o3", "o1"]


async def test_chat_without_orders_is_refused_honestly(stage: Stage) -> None:
    """While orders does not answer no client is let into a room, and each gets the reason."""
    async with stage.notifier(orders_address="127.0.0.1:1") as copy, copy.client() as client:
        await client.send(action="chat", room="o1", text="hello")
        assert (await client.receive())["code"] == "UPSTREAM_UNAVAILABLE"

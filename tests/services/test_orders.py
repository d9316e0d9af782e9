"""shop.orders.v1, served: who sees which order, what is refused, and what a watcher sees."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from chassis.errors import Kind, unavailable
from chassis.pagination import encode_cursor
from protos.shop.orders.v1 import orders_pb2 as pb
from tests.services.conftest import Caller, Service
from tests.waiting import eventually

KEYBOARD = [pb.NewItem(product_id="42", quantity=2)]


async def placed(caller: Caller, key: str = "", quantity: int = 2) -> pb.Order:
    items = [pb.NewItem(product_id="42", quantity=quantity)]
    response = await caller.call("PlaceOrder", pb.PlaceOrderRequest(items=items, idempotency_key=key))
    order: pb.Order = response.order
    return order


async def rejected(service: Service, order: pb.Order) -> None:
    """End an order, as its owner can."""
    await service.as_(order.user_id).call("CancelOrder", pb.CancelOrderRequest(id=order.id))


async def test_order_is_accepted_as_pending(orders_service: Service) -> None:
    """An order is answered with its price and its owner, before anything else is done for it."""
    order = await placed(orders_service.as_("u1"))
    assert (order.user_id, order.status, order.total, order.currency) == ("u1", "pending", "178.00", "EUR")
    assert [(item.product_id, item.name, item.quantity, item.unit_price) for item in order.items] == [
        ("42", "Keyboard", 2, "89.00")
    ]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetOrder", lambda order: pb.GetOrderRequest(id=order.id)),
        ("CancelOrder", lambda order: pb.CancelOrderRequest(id=order.id)),
        ("ListOrderEvents", lambda order: pb.ListOrderEventsRequest(order_id=order.id)),
        ("ListOrders", lambda order: pb.ListOrdersRequest(user_ids=[order.user_id])),
    ],
)
async def test_another_customers_order_is_not_found(orders_service: Service, method: str, request_: Any) -> None:
    """To another customer an order does not exist, in the same words as one that never did; its owner has it."""
    order = await placed(orders_service.as_("u1"))
    refusal = await orders_service.as_("u2").refusal(method, request_(order))
    assert refusal.code == "NOT_FOUND"
    unknown = pb.Order(id="unknown", user_id="unknown")
    other = await orders_service.as_("u2").refusal(method, request_(unknown))
    said, as_said = (
        refusal.message,
        other.message.replace("unknown", order.user_id if method == "ListOrders" else order.id),
    )
    assert said == as_said
    await orders_service.admin.call(method, request_(order))
    order = await placed(orders_service.as_("u1"))
    await orders_service.as_("u1").call(method, request_(order))


async def test_several_orders_at_once(orders_service: Service) -> None:
    """Several orders come in the order of the request, each once; those of others are left out."""
    mine, yours = await placed(orders_service.as_("u1")), await placed(orders_service.as_("u2"))
    request = pb.GetOrdersRequest(ids=[yours.id, mine.id, "unknown", mine.id])
    found = await orders_service.as_("u1").call("GetOrders", request)
    assert [order.id for order in found.orders] == [mine.id]
    found = await orders_service.admin.call("GetOrders", request)
    assert [order.id for order in found.orders] == [yours.id, mine.id]


@pytest.mark.parametrize("count", [0, 101])
async def test_several_are_not_too_many(orders_service: Service, count: int) -> None:
    """1 to 100 orders can be read at once."""
    refusal = await orders_service.as_("u1").refusal("GetOrders", pb.GetOrdersRequest(ids=["x"] * count))
    assert refusal.code == "INVALID_INPUT"


async def test_version_counts_and_a_replay_is_told(orders_service: Service) -> None:
    """An order's version grows with each change; a repeated key is marked as such, with the order as it was placed."""
    caller = orders_service.as_("u1")
    request = pb.PlaceOrderRequest(items=KEYBOARD, idempotency_key="again")
    first = await caller.call("PlaceOrder", request)
    await rejected(orders_service, first.order)
    again = await caller.call("PlaceOrder", request)
    assert (first.replayed, again.replayed, again.order) == (False, True, first.order)
    assert (await caller.call("GetOrder", pb.GetOrderRequest(id=first.order.id))).order.version == 2


async def test_another_customers_order_cannot_be_watched(orders_service: Service) -> None:
    """A stream about another customer's order ends with NOT_FOUND before its first message."""
    order = await placed(orders_service.as_("u1"))
    with pytest.raises(Exception, match="NOT_FOUND"):
        await anext(orders_service.as_("u2").stream("WatchOrder", pb.WatchOrderRequest(order_id=order.id)))


async def test_strangers_are_left_out_of_a_list_of_users(orders_service: Service) -> None:
    """A customer who asks for several users' orders gets their own only; an admin gets all."""
    mine, yours = await placed(orders_service.as_("u1")), await placed(orders_service.as_("u2"))
    request = pb.ListOrdersRequest(user_ids=["u1", "u2"])
    found = await orders_service.as_("u1").call("ListOrders", request)
    assert [order.id for order in found.orders] == [mine.id]
    found = await orders_service.admin.call("ListOrders", request)
    assert {order.id for order in found.orders} == {mine.id, yours.id}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListOrdersRequest(user_ids=["u1", "u2"], cursor=encode_cursor("2026-01-05T09:00:00Z", "o1")), "cursor"),
        (pb.ListOrdersRequest(user_ids=[f"u{number}" for number in range(101)]), "user_ids"),
    ],
)
async def test_a_list_of_users_has_no_cursor_and_a_bound(
    orders_service: Service, request_: pb.ListOrdersRequest, field: str
) -> None:
    """With several users a cursor is rejected, and so are more than 100 users, each by its own field's name."""
    refusal = await orders_service.admin.refusal("ListOrders", request_)
    assert (refusal.code, list(refusal.fields)) == ("INVALID_INPUT", [field])


@pytest.mark.parametrize(
    "caller", [("u1", "customer"), ("1", "admin"), ("orders", "service"), ("webhooks", "customer")]
)
async def test_only_webhooks_reports_payments(orders_service: Service, caller: tuple[str, str]) -> None:
    """Only the webhooks process may say that an order is paid, not even its owner or an admin."""
    order = await placed(orders_service.as_("u1"))
    refusal = await orders_service.as_(*caller).refusal("MarkPaid", pb.MarkPaidRequest(order_id=order.id))
    assert refusal.code == "FORBIDDEN"
    refusal = await orders_service.process("webhook_worker").refusal("MarkPaid", pb.MarkPaidRequest(order_id=order.id))
    assert refusal.code == "ORDER_NOT_CONFIRMED"


async def test_nothing_is_placed_without_a_token(orders_service: Service) -> None:
    """Without a token there is no order."""
    refusal = await orders_service.as_().refusal("PlaceOrder", pb.PlaceOrderRequest(items=KEYBOARD))
    assert refusal.code == "UNAUTHENTICATED"


async def test_same_key_same_order(orders_service: Service) -> None:
    """A repeated key answers the order as it was placed, whatever has become of it and though prices are away."""
    caller = orders_service.as_("u1")
    order = await placed(caller, "k")
    await rejected(orders_service, order)
    orders_service.fakes.failure = unavailable("catalog")
    assert await placed(caller, "k") == order


async def test_same_key_other_order(orders_service: Service) -> None:
    """A key that is used for something else is refused, and nothing is placed."""
    caller = orders_service.as_("u1")
    await placed(caller, "k")
    request = pb.PlaceOrderRequest(items=[pb.NewItem(product_id="42", quantity=3)], idempotency_key="k")
    assert (await caller.refusal("PlaceOrder", request)).code == "IDEMPOTENCY_KEY_REUSED"
    assert len((await caller.call("ListOrders", pb.ListOrdersRequest())).orders) == 1


async def test_channel_orders_are_placed_once(orders_service: Service) -> None:
    """A sales channel's order belongs to its buyer and is placed once, however often the channel reports it."""
    request = pb.PlaceChannelOrderRequest(channel="shopify", channel_order_id="99", user_id="u1", items=KEYBOARD)
    webhooks = orders_service.process("webhook_worker")
    first, second = [(await webhooks.call("PlaceChannelOrder", request)).order for _ in range(2)]
    assert first == second
    assert first.user_id == "u1"


@pytest.mark.parametrize("key", ["shopify:99", "shopify99", "shopify 99"])
async def test_no_clients_key_is_a_channels(orders_service: Service, key: str) -> None:
    """Whatever key a client has chosen before, the channel's order is an order of its own."""
    theirs = await placed(orders_service.as_("u1"), key)
    request = pb.PlaceChannelOrderRequest(channel="shopify", channel_order_id="99", user_id="u1", items=KEYBOARD)
    ours = (await orders_service.process("webhook_worker").call("PlaceChannelOrder", request)).order
    assert ours.id != theirs.id


@pytest.mark.parametrize(
    ("channel", "channel_order_id", "field", "message"),
    [
        ("shopify", "9" * 256, "channel_order_id", "invalid channel order id"),
        ("s" * 256, "99", "channel", "invalid channel"),
        ("shopify", "9\x1f9", "channel_order_id", "invalid channel order id"),
        ("shopify\x1f9", "9", "channel", "invalid channel"),
        ("shopify", "", "channel_order_id", "channel order must have an id and a channel"),
        ("", "99", "channel_order_id", "channel order must have an id and a channel"),
    ],
)
async def test_a_channels_key_is_bounded(
    orders_service: Service, channel: str, channel_order_id: str, field: str, message: str
) -> None:
    """What is too long, or could be taken for another channel's order, is refused: it will never be anything else."""
    request = pb.PlaceChannelOrderRequest(
        channel=channel, channel_order_id=channel_order_id, user_id="u1", items=KEYBOARD
    )
    refusal = await orders_service.process("webhook_worker").refusal("PlaceChannelOrder", request)
    assert (refusal.code, set(refusal.fields), refusal.message) == ("INVALID_INPUT", {field}, message)


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.PlaceOrderRequest(), ["items"]),
        (pb.PlaceOrderRequest(items=[pb.NewItem(product_id="42")]), ["items[0].quantity"]),
        (pb.PlaceOrderRequest(items=[pb.NewItem(quantity=-1)]), ["items[0].product_id", "items[0].quantity"]),
        (pb.PlaceOrderRequest(items=[pb.NewItem(product_id="?", quantity=1)]), ["items[0].product_id"]),
        (pb.PlaceOrderRequest(items=KEYBOARD, idempotency_key="k" * 256), ["idempotency_key"]),
        (pb.PlaceOrderRequest(items=KEYBOARD, idempotency_key="shopify\x1f99"), ["idempotency_key"]),
    ],
)
async def test_bad_order_is_refused_naming_the_field(
    orders_service: Service, request_: pb.PlaceOrderRequest, fields: list[str]
) -> None:
    """A wrong order is INVALID_INPUT, naming each field."""
    refusal = await orders_service.as_("u1").refusal("PlaceOrder", request_)
    assert (refusal.code, sorted(refusal.fields)) == ("INVALID_INPUT", fields)


async def test_wrong_in_every_way_is_still_told(orders_service: Service) -> None:
    """The longest list of problems there can be arrives whole."""
    items = [pb.NewItem(product_id="x" * 65, quantity=0)] * 50
    refusal = await orders_service.as_("u1").refusal("PlaceOrder", pb.PlaceOrderRequest(items=items))
    assert (refusal.code, len(refusal.fields)) == ("INVALID_INPUT", 100)


async def test_huge_id_is_just_not_found(orders_service: Service) -> None:
    """An id as long as a message may be is unknown like any other."""
    refusal = await orders_service.as_("u1").refusal("GetOrder", pb.GetOrderRequest(id="x" * 1_000_000))
    assert refusal.code == "NOT_FOUND"


@pytest.mark.parametrize(
    "cursor", ["x", encode_cursor("a"), encode_cursor("never", "o1"), encode_cursor("0001-01-01T00:00:00+23:59", "o1")]
)
async def test_made_up_cursor(orders_service: Service, cursor: str) -> None:
    """A cursor that is not one of ours is bad input."""
    refusal = await orders_service.as_("u1").refusal("ListOrders", pb.ListOrdersRequest(cursor=cursor))
    assert (refusal.code, list(refusal.fields)) == ("INVALID_INPUT", ["cursor"])


async def test_pages_end(orders_service: Service) -> None:
    """Following the cursor sees each order once, newest first, and the last page says that it is the last."""
    ids = [(await placed(orders_service.as_("u1"))).id for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await orders_service.as_("u1").call("ListOrders", pb.ListOrdersRequest(page_size=2, cursor=cursor))
        seen += [order.id for order in page.orders]
        cursor = page.next_cursor
        if not cursor:
            break
    assert seen == ids[::-1]


async def test_prices_away_is_unavailable(orders_service: Service) -> None:
    """An order that cannot be priced is refused for now, with the time to come again, and not placed."""
    orders_service.fakes.failure = unavailable("catalog", retry_after=2)
    refusal = await orders_service.as_("u1").refusal("PlaceOrder", pb.PlaceOrderRequest(items=KEYBOARD))
    assert (refusal.code, refusal.retry_after) == ("UPSTREAM_UNAVAILABLE", 2)
    assert not (await orders_service.as_("u1").call("ListOrders", pb.ListOrdersRequest())).orders


async def test_watcher_sees_the_history_then_each_event_until_the_end(
    orders_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watcher gets what has happened, then what happens, once and at once; the stream ends with the order."""
    monkeypatch.setattr("services.orders.order_watch._POLL_SECONDS", 300.0)
    order = await placed(orders_service.as_("u1"))
    stream = orders_service.as_("u1").stream("WatchOrder", pb.WatchOrderRequest(order_id=order.id))
    first = await anext(stream)
    assert (first.type, first.sequence) == ("order.placed", 1)
    async with asyncio.timeout(20):  # the log shows it; without that the watcher would look again after five minutes
        await rejected(orders_service, order)
        rest = [event async for event in stream]
    assert [(event.type, event.sequence) for event in rest] == [("order.cancelled", 2)]


async def test_watcher_comes_back_for_the_rest(orders_service: Service) -> None:
    """A watcher that was away names the last sequence that it has seen and gets what came after."""
    order = await placed(orders_service.as_("u1"))
    await rejected(orders_service, order)
    for seen, expected in ((0, [1, 2]), (1, [2]), (2, [])):
        request = pb.WatchOrderRequest(order_id=order.id, after_sequence=seen)
        async with asyncio.timeout(20):
            events = [event async for event in orders_service.as_("u1").stream("WatchOrder", request)]
        assert [event.sequence for event in events] == expected


async def test_watcher_sees_what_came_after_the_end(orders_service: Service) -> None:
    """What happened to an order after it had been cancelled is shown to a later watcher, and the stream ends."""
    order = await placed(orders_service.as_("u1"))
    await rejected(orders_service, order)
    paid = pb.MarkPaidRequest(order_id=order.id, payment_id="pi_1")
    for _ in range(3):
        await orders_service.process("webhook_worker").call("MarkPaid", paid)
    async with asyncio.timeout(20):
        stream = orders_service.as_("u1").stream("WatchOrder", pb.WatchOrderRequest(order_id=order.id))
        events = [event async for event in stream]
    assert [event.type for event in events] == ["order.placed", "order.cancelled", "order.refund_due"]


async def test_expired_deadline_places_nothing(orders_service: Service) -> None:
    """A caller whose time is up while the order is being priced has not ordered anything."""
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    caller = orders_service.as_("u1")
    # A first call connects and fetches keys.
    assert not (await caller.call("ListOrders", pb.ListOrdersRequest())).orders
    orders_service.fakes.before = slow
    with pytest.raises(Exception, match="DEADLINE_EXCEEDED"):
        await caller.call("PlaceOrder", pb.PlaceOrderRequest(items=KEYBOARD), timeout=2.0)
    assert entered.is_set()
    await eventually(cancelled.is_set)
    assert not (await caller.call("ListOrders", pb.ListOrdersRequest())).orders


async def test_records_are_the_admins_and_say_what_is_unpublished(orders_service: Service) -> None:
    """The audit's listing holds every user's order with its events; the relay publishes them within a moment."""
    ids = [(await placed(orders_service.as_(user_id))).id for user_id in ("u1", "u2")]

    async def published() -> bool:
        page = await orders_service.admin.call("ListRecords", pb.ListRecordsRequest())
        assert [record.order.id for record in page.records] == ids
        assert [[event.type for event in record.events] for record in page.records] == [["order.placed"]] * 2
        return not any(record.unpublished for record in page.records)

    await eventually(published)


async def test_locked_database_is_told_and_the_order_succeeds_afterwards(
    orders_service: Service, tmp_path: Path
) -> None:
    """While another process holds the database, an order is refused with a Retry-After, and nothing stays."""
    caller = orders_service.as_("u1")
    await placed(caller, "before")
    request = pb.PlaceOrderRequest(items=KEYBOARD, idempotency_key="key")
    other = sqlite3.connect(tmp_path / "orders.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        # SQLite waits five seconds for a lock, and the outbox relay may be waiting before us.
        refusal = await caller.refusal("PlaceOrder", request, timeout=30)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert (refusal.code, refusal.kind) == ("STORE_UNAVAILABLE", Kind.UNAVAILABLE)
    assert refusal.retry_after
    order = await placed(caller, "key")
    listed = await caller.call("ListOrders", pb.ListOrdersRequest(user_ids=["u1"]))
    assert [each.id for each in listed.orders].count(order.id) == 1

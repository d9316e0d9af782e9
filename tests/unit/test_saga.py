"""An order's processing, with fakes of every system it calls: repeated anywhere, undone wherever it ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import cast

import pytest

from chassis.broker.consumer import is_temporary
from chassis.errors import Kind, ShopError, not_found, unavailable
from services.orders import domain
from services.orders.domain import Item, Order, OrderEvent, Outcome, Status
from services.orders.ports import OrderStore
from services.orders.saga import Saga

PLACED_AT = datetime(2026, 3, 1, tzinfo=UTC)
Hook = Callable[[], Awaitable[None]]
DONE = {"reserved": "shipped", "erp": "shipped", "payment": "pi_o1"}
UNDONE = [
    {},
    {"reserved": "released"},
    {"reserved": "released", "erp": "cancelled"},
    {"reserved": "released", "erp": "cancelled", "payment": "cancelled"},
]


class FakeStore:
    """Fake: one order and its history."""

    def __init__(self, order: Order) -> None:
        self.order, placed = domain.place(order)
        self.history = [placed.type] if placed else []
        self.events: list[OrderEvent] = []

    async def get(self, order_id: str) -> Order | None:
        return self.order if order_id == self.order.id else None

    async def change(self, order_id: str, decide: Callable[[Order], Outcome]) -> Order:
        if order_id != self.order.id:
            raise not_found("order", order_id)
        self.order, happened = decide(self.order)
        if happened is not None:
            self.history.append(happened.type)
            self.events.append(happened)
        return self.order


@dataclass
class World:
    """Fakes of inventory, the ERP and the payment provider, idempotent as the real ones are.

    `state` is what they have on record of the order; `before` and `after` run around a call, once.
    """

    state: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    before: dict[str, Hook] = field(default_factory=dict)
    after: dict[str, Hook] = field(default_factory=dict)
    # What has expired belongs to another order now.
    sold_out: bool = False
    now: datetime = PLACED_AT

    async def call(self, name: str, order_id: str, effect: Callable[[], None]) -> None:
        assert order_id == "o1", f"{name} of another order"
        self.calls.append(name)
        if name in self.before:
            await self.before.pop(name)()
        effect()
        if name in self.after:
            await self.after.pop(name)()


class FakeInventory:
    def __init__(self, world: World) -> None:
        self.world = world

    async def reserve(self, order: Order) -> None:
        def effect() -> None:
            if self.world.state.get("reserved") == "released":
                raise ShopError("ORDER_CLOSED", "too late", Kind.PRECONDITION)
            if self.world.state.get("reserved") == "expired" and self.world.sold_out:
                raise ShopError("OUT_OF_STOCK", "not enough of 42 in stock", Kind.PRECONDITION)
            self.world.state["reserved"] = "held"

        await self.world.call("reserve", order.id, effect)

    async def confirm(self, order_id: str) -> None:
        def effect() -> None:
            if self.world.state["reserved"] != "held":
                expired = self.world.state["reserved"] == "expired"
                code = "RESERVATION_EXPIRED" if expired else "RESERVATION_NOT_HELD"
                raise ShopError(code, "they will not have it", Kind.PRECONDITION)

        await self.world.call("confirm", order_id, effect)

    async def release(self, order_id: str) -> None:
        await self.world.call("release", order_id, lambda: self.world.state.update(reserved="released"))

    async def ship(self, order_id: str) -> None:
        await self.world.call("ship", order_id, lambda: self.world.state.update(reserved="shipped"))


class FakeErp:
    def __init__(self, world: World) -> None:
        self.world = world

    async def register(self, order: Order) -> None:
        await self.world.call("register", order.id, lambda: self.world.state.update(erp="open"))

    async def cancel(self, order_id: str) -> None:
        def effect() -> None:
            if "erp" in self.world.state:
                self.world.state["erp"] = "cancelled"

        await self.world.call("cancel_erp", order_id, effect)

    async def create_shipment(self, order_id: str) -> str:
        await self.world.call("create_shipment", order_id, lambda: self.world.state.update(erp="shipped"))
        return "S-1"


class FakePayments:
    def __init__(self, world: World) -> None:
        self.world = world

    async def request(self, order: Order) -> str:
        def effect() -> None:
            self.world.state.setdefault("payment", f"pi_{order.id}")

        await self.world.call("pay", order.id, effect)
        return f"pi_{order.id}"

    async def cancel(self, order_id: str) -> None:
        def effect() -> None:
            if "payment" in self.world.state:
                self.world.state["payment"] = "cancelled"

        await self.world.call("cancel_payment", order_id, effect)


@dataclass
class Scene:
    store: FakeStore
    world: World
    saga: Saga

    def decide(self, decision: Callable[[Order], Outcome]) -> Hook:
        """What another process decides about the order meanwhile."""

        async def decided() -> None:
            await self.store.change("o1", decision)

        return decided

    async def paid(self) -> None:
        await self.store.change("o1", lambda order: domain.mark_paid(order, "pi_o1"))

    async def deliver_events(self) -> None:
        """What the queues bring after an order has ended without a sale."""
        if self.store.order.status.undone:
            await self.saga.compensate("o1")


@pytest.fixture
def scene() -> Scene:
    items: Sequence[Item] = (Item("42", "Keyboard", 1, Decimal("89.00")),)
    store = FakeStore(Order("o1", "u1", Status.PENDING, "", items, Decimal("89.00"), "EUR", PLACED_AT))
    world = World()
    fakes = (FakeInventory(world), FakeErp(world), FakePayments(world))
    saga = Saga(cast("OrderStore", store), *fakes, delayed_after=timedelta(minutes=1), clock=lambda: world.now)
    return Scene(store, world, saga)


async def dies() -> None:
    """A worker that ends here."""
    raise unavailable("the called service")


def refuses(kind: Kind) -> Hook:
    async def refused() -> None:
        raise ShopError("NO", "they will not have it", kind)

    return refused


async def test_the_way_to_shipped(scene: Scene) -> None:
    """Reserve, register, ask for payment, confirm; then, once it is paid, ship: each exactly once and in this order."""
    await scene.saga.process("o1")
    assert scene.store.order.payment_id == "pi_o1"
    await scene.paid()
    await scene.saga.fulfil("o1")
    assert scene.world.calls == ["reserve", "register", "pay", "confirm", "create_shipment", "ship"]
    assert scene.store.history == ["order.placed", "order.confirmed", "order.paid", "order.shipped"]
    assert scene.world.state == DONE


@pytest.mark.parametrize("dies_at", ["", "confirm"])
async def test_nothing_to_pay_is_paid(scene: Scene, dies_at: str) -> None:
    """An order of 0.00 is paid once it is confirmed, without the provider, also when a worker died right before."""
    scene.store.order = replace(scene.store.order, total=Decimal("0.00"))
    if dies_at:
        scene.world.after[dies_at] = dies
        with pytest.raises(ShopError):
            await scene.saga.process("o1")
    await scene.saga.process("o1")
    assert scene.store.order.status is Status.PAID
    await scene.saga.process("o1")
    await scene.saga.fulfil("o1")
    assert "pay" not in scene.world.calls
    assert scene.store.history == ["order.placed", "order.confirmed", "order.paid", "order.shipped"]


async def test_confirmed_with_nothing_to_pay_goes_on(scene: Scene) -> None:
    """A worker that died between confirming an order of 0.00 and marking it as paid is made up for."""
    scene.store.order = replace(scene.store.order, total=Decimal("0.00"))
    await scene.store.change("o1", lambda order: domain.confirm(order, domain.NOTHING_TO_PAY))
    await scene.saga.process("o1")
    assert scene.store.order.status is Status.PAID


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("step", ["reserve", "register", "pay", "confirm", "create_shipment", "ship"])
async def test_worker_may_die_at_every_step(scene: Scene, step: str, where: str) -> None:
    """Whichever call is the last one of a worker, done or not, the next worker brings the order to the same end."""
    getattr(scene.world, where)[step] = dies
    for work, following in ((scene.saga.process, scene.paid), (scene.saga.fulfil, None)):
        try:
            await work("o1")
        except ShopError:
            await work("o1")
        if following is not None:
            await following()
    assert scene.store.history == ["order.placed", "order.confirmed", "order.paid", "order.shipped"]
    assert scene.world.state == DONE


async def test_repeated_deliveries_change_nothing(scene: Scene) -> None:
    """Events that come again after the order has moved on call no system twice."""
    await scene.saga.process("o1")
    await scene.saga.process("o1")
    await scene.paid()
    await scene.saga.process("o1")
    await scene.saga.fulfil("o1")
    await scene.saga.fulfil("o1")
    await scene.saga.process("o1")
    assert scene.world.calls == ["reserve", "register", "pay", "confirm", "create_shipment", "ship"]


@pytest.mark.parametrize("kind", [Kind.PRECONDITION, Kind.INVALID, Kind.NOT_FOUND])
@pytest.mark.parametrize("step", ["reserve", "register", "pay", "confirm"])
async def test_refusal_rejects_and_is_undone(scene: Scene, step: str, kind: Kind) -> None:
    """A step that is refused rejects the order with the reason; what was done before is undone by its event."""
    scene.world.before[step] = refuses(kind)
    await scene.saga.process("o1")
    assert (scene.store.order.status, scene.store.order.status_reason) == (Status.REJECTED, "they will not have it")
    await scene.deliver_events()
    assert scene.world.state in UNDONE
    assert scene.store.history == ["order.placed", "order.rejected"]


@pytest.mark.parametrize("sold_out", [False, True])
async def test_expired_reservation_is_made_anew(scene: Scene, sold_out: bool) -> None:
    """A reservation that expires while the payment is requested is tried again: made anew, or rejected and undone."""

    async def expires() -> None:
        scene.world.state["reserved"] = "expired"
        scene.world.sold_out = sold_out

    scene.world.after["pay"] = expires
    with pytest.raises(Exception, match="RESERVATION_EXPIRED") as failure:
        await scene.saga.process("o1")
    assert is_temporary(failure.value)
    assert scene.store.order.status is Status.PENDING
    await scene.saga.process("o1")
    if sold_out:
        assert scene.store.order.status_reason == "not enough of 42 in stock"
        await scene.deliver_events()
        assert scene.world.state == UNDONE[-1]
    else:
        await scene.paid()
        await scene.saga.fulfil("o1")
        assert scene.world.state == DONE


@pytest.mark.parametrize("step", ["register", "pay"])
async def test_outage_of_a_day_renews_the_reservation_and_tells_the_customer_once(scene: Scene, step: str) -> None:
    """While the ERP or the provider is away each try reserves again; the history says once that it is delayed."""
    tries = [timedelta(seconds=10), *(timedelta(minutes=2 * number) for number in range(1, 721))]
    for since in tries:
        scene.world.now = PLACED_AT + since
        scene.world.before[step] = dies
        with pytest.raises(ShopError) as failure:
            await scene.saga.process("o1")
        assert is_temporary(failure.value)
        told = ["order.placed", "order.delayed"] if since >= timedelta(minutes=1) else ["order.placed"]
        assert scene.store.history == told
    assert scene.world.calls.count("reserve") == len(tries)
    assert scene.store.order.status_reason == domain.DELAYED
    await scene.saga.process("o1")
    assert (scene.store.order.status, scene.store.order.status_reason) == (Status.CONFIRMED, "")


async def test_order_that_ends_while_a_system_is_away_is_not_delayed(scene: Scene) -> None:
    """An order that its customer cancels during a failing try is cancelled, not delayed."""

    async def cancelled_and_away() -> None:
        await scene.decide(domain.cancel)()
        await dies()

    scene.world.now = PLACED_AT + timedelta(hours=1)
    scene.world.before["register"] = cancelled_and_away
    with pytest.raises(ShopError):
        await scene.saga.process("o1")
    assert scene.store.history == ["order.placed", "order.cancelled"]


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.PRECONDITION, Kind.INVALID, Kind.NOT_FOUND}, key=str))
async def test_failure_is_no_refusal(scene: Scene, kind: Kind) -> None:
    """A system that does not answer, or fails, has not refused: the order stays pending and is delivered again."""
    scene.world.before["register"] = refuses(kind)
    with pytest.raises(ShopError):
        await scene.saga.process("o1")
    assert scene.store.order.status is Status.PENDING


@pytest.mark.parametrize("compensated", [False, True])
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("step", ["reserve", "register", "pay", "confirm"])
async def test_cancelled_in_the_middle(scene: Scene, step: str, where: str, compensated: bool) -> None:
    """A customer who cancels during any step, compensated at once or not, leaves nothing reserved, open or paid."""

    async def meanwhile() -> None:
        await scene.decide(domain.cancel)()
        if compensated:
            await scene.saga.compensate("o1")

    getattr(scene.world, where)[step] = meanwhile
    await scene.saga.process("o1")
    assert scene.store.history == ["order.placed", "order.cancelled"]
    assert scene.world.state in UNDONE


async def test_cancelled_while_a_worker_dies(scene: Scene) -> None:
    """A worker that dies after asking for the payment of an order cancelled meanwhile is cleaned up after."""

    async def cancelled_compensated_dead() -> None:
        await scene.decide(domain.cancel)()
        await scene.saga.compensate("o1")
        await dies()

    scene.world.before["pay"] = cancelled_compensated_dead
    with pytest.raises(ShopError):
        await scene.saga.process("o1")
    scene.world.state["payment"] = "pi_o1"  # the request was on its way
    await scene.saga.process("o1")
    assert scene.world.state == UNDONE[-1]


async def test_cancelled_before_it_was_processed(scene: Scene) -> None:
    """An order that is cancelled before it is processed makes no calls but those that undo."""
    await scene.decide(domain.cancel)()
    await scene.saga.process("o1")
    assert scene.world.calls == ["cancel_payment", "cancel_erp", "release"]


async def test_failed_payment_is_undone(scene: Scene) -> None:
    """An order whose payment fails after it was confirmed is rejected and all of it undone."""
    await scene.saga.process("o1")
    await scene.decide(lambda order: domain.fail_payment(order, "pi_o1", "declined"))()
    await scene.deliver_events()
    await scene.saga.fulfil("o1")
    assert scene.world.state == UNDONE[-1]


@pytest.mark.parametrize("step", ["cancel_payment", "cancel_erp", "release"])
async def test_compensation_goes_on_after_a_failure(scene: Scene, step: str) -> None:
    """A compensation that fails anywhere is repeated until all is undone."""
    await scene.saga.process("o1")
    await scene.decide(domain.cancel)()
    scene.world.before[step] = dies
    with pytest.raises(ShopError):
        await scene.saga.compensate("o1")
    await scene.saga.compensate("o1")
    assert scene.world.state == UNDONE[-1]


async def test_unpaid_order_is_not_shipped(scene: Scene) -> None:
    """Fulfilment that comes too early, or for an order that ended, ships nothing."""
    await scene.saga.process("o1")
    await scene.saga.fulfil("o1")
    assert "create_shipment" not in scene.world.calls


async def test_event_without_an_order_is_a_failure(scene: Scene) -> None:
    """An event about an order that has no row is not acknowledged as if it were done."""
    with pytest.raises(LookupError, match="order unknown has an event but no row"):
        await scene.saga.process("unknown")


async def test_each_queue_has_its_step(scene: Scene) -> None:
    """The queues' names are the topology's, and no step is without one."""
    saga = scene.saga
    assert saga.steps() == {
        "order-processing": saga.process,
        "order-fulfilment": saga.fulfil,
        "order-compensation": saga.compensate,
    }


async def test_the_shipment_is_in_the_event(scene: Scene) -> None:
    """By the number that the ERP gave it."""
    await scene.saga.process("o1")
    await scene.paid()
    await scene.saga.fulfil("o1")
    assert scene.store.events[-1] == domain.OrderShipped("S-1")


async def test_by_its_own_clock_an_old_order_is_delayed(scene: Scene) -> None:
    """Without another one it is the time of now in UTC, which orders are placed in, too."""
    fakes = (FakeInventory(scene.world), FakeErp(scene.world), FakePayments(scene.world))
    saga = Saga(cast("OrderStore", scene.store), *fakes)
    scene.store.order = replace(scene.store.order, placed_at=datetime(2020, 1, 1, tzinfo=UTC))
    scene.world.before["reserve"] = dies
    with pytest.raises(ShopError, match="UNAVAILABLE"):
        await saga.process("o1")
    assert scene.store.history[-1] == "order.delayed"

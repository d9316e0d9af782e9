"""An event as an example: `order.expired`, which orders publishes and the mailer writes to the customer; and a
queue."""

from __future__ import annotations

from tests.docs.recipes import Recipe

_PAYLOAD = """// order.expired: the customer did not pay in time; its completed steps are being undone.
message OrderExpired {
  // The order's id.
  string order_id = 1;
  // Id of the order's customer.
  string user_id = 2;
  // Reason, for the customer to read.
  string reason = 3;
}

// order.paid: """

_DECISION = '''def expire(order: Order) -> Outcome:
    """The customer did not pay in time. Of an order that waits for no payment it changes nothing."""
    if order.status is not Status.CONFIRMED:
        return order, None
    reason = "not paid in time"
    return _moved(order, Status.REJECTED, reason), OrderExpired(reason)


def ship('''

_TYPE = """@dataclass(frozen=True, slots=True)
class OrderExpired(OrderEvent):
    type = "order.expired"
    reason: str


# The order after a decision"""

_USE_CASE = """    async def expire(self, order_id: str) -> Order:
        return await self._store.change(order_id, domain.expire)

    async def record_delivery("""

_PARSED = """            case "expired":
                payload = Parse(event.data, OrderExpired(), ignore_unknown_fields=True)
                facts = {"reason": payload.reason}
            case "shipped":
"""

_WORDS = """    "expired": (
        "Your order {order_id} has expired",
        "your order {order_id} was {reason}, so we have cancelled it. Nothing was charged.",
    ),
    "shipped": (
"""

_TESTS = '''from __future__ import annotations

from pathlib import Path
from typing import cast

from google.protobuf.json_format import Parse

from chassis.background import background
from chassis.broker.outbox import Outbox
from chassis.broker.port import Topology
from chassis.observability.tracing import Telemetry
from chassis.settings import TOPOLOGY
from services.orders import domain
from services.orders.events import MESSAGES
from services.orders.ports import OrderWatch
from services.orders.sql_store import SqlOrderStore, outbox
from services.orders.use_cases import Orders
from tests.contract.databases import opened, url_of
from tests.contract.orders import an_order, placed
from tests.mailer.conftest import Post
from tests.waiting import eventually


async def test_customer_of_an_expired_order_gets_one_mail(post: Post, tmp_path: Path) -> None:
    """An order that expires publishes its message, and becomes one mail with the reason."""
    async with opened("orders", url_of("orders", "", tmp_path)) as db, post.users(), post.mailer():
        told = Outbox(outbox, db, post.broker, Telemetry("test"), keep=None)
        store = SqlOrderStore(db, told)
        order = await placed(store, an_order("123"))
        await store.change(order.id, lambda confirmed: domain.confirm(confirmed, "pi_1"))
        orders = Orders(store, cast("OrderWatch", None))
        for _ in range(2):
            await orders.expire(order.id)
        entry = (await store.history(order.id))[-1]
        assert Parse(entry.data, MESSAGES[entry.type]()).reason == "not paid in time"

        async def mailed() -> bool:
            return [mail["kind"] for mail in await post.mails(order.id)].count("expired") == 1

        async with background(told.relay()):
            await eventually(mailed, within=30)


def test_an_expired_order_is_undone() -> None:
    """The saga's compensation takes the event, too."""
    assert "order.expired" in Topology.load(TOPOLOGY).queues["order-compensation"]
'''

EVENT = Recipe(
    heading="Add an event",
    names={"producer": "orders", "consumer": "mailer", "event": "order_expired"},
    new={"tests/mailer/test_order_expired.py": _TESTS},
    changed={
        "protos/shop/events/v1/events.proto": [("// order.paid: ", _PAYLOAD)],
        "protos/shop/events/v1/topology.toml": [
            ('order-compensation = ["order.rejected", ', 'order-compensation = ["order.rejected", "order.expired", '),
            ('order-mail = ["order.confirmed", ', 'order-mail = ["order.confirmed", "order.expired", '),
        ],
        "services/orders/domain.py": [("def ship(", _DECISION), ("# The order after a decision", _TYPE)],
        "services/orders/use_cases.py": [
            ("    async def record_delivery(", _USE_CASE),
            ('_FINAL_EVENTS = ("order.rejected", ', '_FINAL_EVENTS = ("order.rejected", "order.expired", '),
        ],
        "services/mailer/consumer.py": [
            ("OrderDelayed, OrderRejected, OrderShipped", "OrderDelayed, OrderExpired, OrderRejected, OrderShipped"),
            ("payload: OrderConfirmed | OrderDelayed", "payload: OrderConfirmed | OrderExpired | OrderDelayed"),
            ('            case "shipped":\n', _PARSED),
        ],
        "services/mailer/domain.py": [('    "shipped": (\n', _WORDS)],
    },
    needed=["protos/contracts.binpb", "protos/shop/events/v1/topology.toml"],
)

QUEUE = Recipe(
    heading="Add a queue",
    names={},
    new={},
    changed={
        "protos/shop/events/v1/topology.toml": [
            ('order-mail = ["', 'order-label = ["order.paid"]\norder-mail = ["'),
        ],
        "deploy/compose/rabbitmq/definitions.py": [
            ('consumes=["order-invoice"]', 'consumes=["order-invoice", "order-label"]')
        ],
        "protos/asyncapi/document.py": [
            ('    "order-mail": "', '    "order-label": "storage: print the label",\n    "order-mail": "'),
        ],
        "docs/architecture.toml": [('what = ["order-invoice"]', 'what = ["order-invoice", "order-label"]')],
        "docs/layout.toml": [("order-mail = [838, 372]", "order-label = [838, 350]\norder-mail = [838, 372]")],
    },
    needed=["deploy/compose/rabbitmq/definitions.py", "docs/layout.toml", "protos/asyncapi/document.py"],
)

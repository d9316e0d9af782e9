"""The required hops of a journey, and its defects. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shop.commands.orders.trace import FLYING, without_end

# Of a webhook that came before the step that it reports on was stored, as on a busy machine: it is tried again.
_EARLY = frozenset({"ORDER_NOT_CONFIRMED", "ORDER_NOT_SHIPPED"})
# Of a call that a busy machine did not answer in time.
_UNANSWERED = frozenset({"UPSTREAM_UNAVAILABLE", "DEADLINE_EXCEEDED"})
# A quote does without it.
_OPTIONAL = "shop.inventory.v1.InventoryService/CheckAvailability"
# A hop as in the console's `GET /api/traces/{id}/hops`.
Hop = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trip:
    """One trace: its request (`title`), and its hops in order."""

    title: str
    trace_id: str
    hops: Sequence[Hop]


@dataclass(frozen=True, slots=True)
class Journey:
    """Observations of an order. `events` are its event types as the WebSocket brought them; `answer` is GraphQL's."""

    order_id: str
    events: Sequence[str]
    order: Trip
    graphql: Trip
    answer: Any = None


@dataclass(frozen=True, slots=True)
class Expected:
    """A kind of hop that must be in a trace: any of these protocols, so many times."""

    what: str
    protocols: frozenset[str]
    at_least: int = 1

    def missing_in(self, hops: Sequence[Hop]) -> str:
        """The missing observations, as a sentence; empty when there are none."""
        found = sum(hop["protocol"] in self.protocols for hop in hops)
        if found >= self.at_least:
            return ""
        return f"no hop is {self.what}" if not found else f"only {found} of {self.at_least} hops are {self.what}"


REST = Expected("a REST call", frozenset({"REST"}))
GRPC = Expected("a gRPC call", frozenset({"gRPC"}))
QUEUE = Expected("an event through the broker", frozenset({"queue", "AMQP"}))
SOAP = Expected("a SOAP call", frozenset({"SOAP"}))
PAYMENT = Expected("an HTTP call to the payment provider", frozenset({"HTTP"}))
WEBHOOK = Expected("a webhook", frozenset({"webhook"}))
SMTP = Expected("a mail (SMTP)", frozenset({"SMTP"}))
WEBSOCKET = Expected("a message on the WebSocket", frozenset({"WebSocket"}))
GRAPHQL = Expected("a GraphQL call", frozenset({"GraphQL"}))


@dataclass(frozen=True, slots=True)
class Itinerary:
    """An order to place, and what must become of it.

    `items` are product ids and quantities, `end` the event that ends it; a hop may fail with one of the `refusals`:
    then at least one had to.
    """

    items: Sequence[tuple[str, int]]
    end: str
    hops: Sequence[Expected]
    graphql_hops: Sequence[Expected] = (GRAPHQL, REST)
    refusals: frozenset[str] = field(default_factory=frozenset)

    def without_soap(self) -> Itinerary:
        """The same where another ERP stands behind the adapter."""
        return replace(self, hops=[each for each in self.hops if each is not SOAP])

    def complete(self, hops: Sequence[Hop]) -> bool:
        """Whether the order's trace has everything that must be there."""
        return not any(expected.missing_in(hops) for expected in self.hops)

    def problems(self, journey: Journey) -> list[str]:
        """Faults of the journey, one sentence each; empty when there are none."""
        found = [] if self.end in journey.events else [f"{self.end} did not come over the WebSocket"]
        for trip, wanted in ((journey.order, self.hops), (journey.graphql, self.graphql_hops)):
            found += [f"{trip.title}: {missing}" for expected in wanted if (missing := expected.missing_in(trip.hops))]
            found += [
                f"{trip.title}: hop {number} failed ({hop['protocol']} {hop['from']} -> {hop['to']}): {hop['error']}"
                for number, hop in enumerate(trip.hops, 1)
                if hop["error"] and not self._allowed(hop, trip.hops[number:])
            ]
            if endless := sum(hop.get("state") == FLYING for hop in trip.hops):
                found.append(f"{trip.title}: {without_end(endless)}")
        return found

    def _allowed(self, hop: Hop, later: Sequence[Hop]) -> bool:
        """Whether it was expected, or a later attempt went well. An error's text begins with its stable code."""
        code = str(hop["error"]).partition(":")[0]
        if code not in _UNANSWERED:
            return code in self.refusals | _EARLY
        return hop["operation"] == _OPTIONAL or any(_same(hop, each) and not each["error"] for each in later)


def _same(one: Hop, other: Hop) -> bool:
    return all(one[key] == other[key] for key in ("protocol", "from", "to", "operation"))


DELIVERED = Itinerary(
    items=(("42", 1), ("123", 1)),
    end="order.shipped",
    # Two mails: the order is confirmed, the order is on its way.
    hops=(REST, GRPC, QUEUE, SOAP, PAYMENT, WEBHOOK, Expected(SMTP.what, SMTP.protocols, 2), WEBSOCKET),
)
REJECTED = Itinerary(
    items=(("42", 1_000),),
    end="order.rejected",
    hops=(REST, GRPC, QUEUE, SMTP, WEBSOCKET),
    refusals=frozenset({"OUT_OF_STOCK"}),
)

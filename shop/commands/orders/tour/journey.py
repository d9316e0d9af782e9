"""Places one real order, follows it on the WebSocket, and reads its trace from the console."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from shop import sign_in
from shop.commands.orders.tour.verdict import Hop, Itinerary, Journey, Trip
from shop.commands.orders.trace import FLYING, finished
from shop.errors import Refused
from shop.gateway_client import Gateway, object_of
from shop.notifier_client import Live, LostError, live
from shop.urls import trust, url_of

# Seconds: for the order to reach its end, for its trace to be complete, for an answer of the console, and without news
# before we believe that the trace is complete.
ORDER_TIMEOUT = 60.0
TRACE_TIMEOUT = 30.0
CONSOLE_TIMEOUT = 15.0
QUIET = 1.0
# The console sends a keep-alive every 15 s.
FEED_TIMEOUT = 40.0
_POLL = 0.1

QUERY = 'query { user(id: "123") { name email orders { id total items { product { name price } } } } }'


def travel(env: Mapping[str, str], itinerary: Itinerary, *, on_hop: Callable[[Hop], None] | None = None) -> Journey:
    """Make the journey; `on_hop` gets each hop of the order as it ends.

    Raises `Refused` when a door does not open; what goes wrong further in is in the traces.
    """
    with Gateway(url_of("gateway", env), trust=trust(env)) as gateway:
        token = gateway.sign_in(sign_in.CUSTOMER, sign_in.password_of(sign_in.CUSTOMER))
        try:
            with live(url_of("notifier", env), token, trust=trust(env)) as connection:
                connection.subscribe(["order.*"])
                order_id, order_trace = _place(gateway, itinerary)
                deadline = time.monotonic() + ORDER_TIMEOUT
                if on_hop is not None:
                    _show_hops(url_of("console", env), order_trace, on_hop, deadline)
                events = _follow(connection, order_id, itinerary.end, deadline)
        except LostError as lost:
            raise Refused(f"the notifier closed the WebSocket: {lost}") from lost
        answered = gateway.call("POST", "/graphql", json={"query": QUERY})
    with httpx.Client(base_url=url_of("console", env), timeout=CONSOLE_TIMEOUT, trust_env=False) as console:
        order_hops = _hops(console, order_trace, itinerary.complete)
        graphql_trace = _trace_id(answered)
        graphql_hops = _hops(console, graphql_trace, bool)
    return Journey(
        order_id,
        events,
        Trip(f"order {order_id}", order_trace, order_hops),
        Trip("GraphQL query", graphql_trace, graphql_hops),
        object_of(answered),
    )


def _place(gateway: Gateway, itinerary: Itinerary) -> tuple[str, str]:
    """Place the order; returns its id and its trace's."""
    items = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in itinerary.items]
    response = gateway.call("POST", "/v1/orders", json={"items": items}, headers={"Idempotency-Key": uuid.uuid4().hex})
    return str(object_of(response, "id")["id"]), _trace_id(response)


def _trace_id(response: httpx.Response) -> str:
    """The trace id in the response's `traceparent` (W3C Trace Context: version-traceid-spanid-flags)."""
    parts = str(response.headers.get("traceparent", "")).split("-")
    if len(parts) != 4:
        raise Refused(f"{response.request.url.path} returned no traceparent")
    return parts[1]


def _show_hops(console_url: str, trace_id: str, on_hop: Callable[[Hop], None], deadline: float) -> None:
    """Pass the hops on as they arrive, until the trace has settled, or has had no news for the time that is left."""
    with httpx.Client(base_url=console_url, timeout=FEED_TIMEOUT, trust_env=False) as console:
        first_by = time.monotonic() + TRACE_TIMEOUT
        while not _read_trace(console, trace_id)["hops"] and time.monotonic() < first_by:
            time.sleep(_POLL)
        try:
            for hop in finished(console, trace_id, news_timeout=max(QUIET, deadline - time.monotonic())):
                # Those without an end are a problem of the journey; "broker": until its consumer is known.
                if hop["state"] != FLYING and hop["to"] != "broker":
                    on_hop(hop)
        except httpx.TransportError as error:
            raise Refused(f"the console at {console_url} does not answer any more ({error})") from error


def _follow(connection: Live, order_id: str, end: str, deadline: float) -> list[str]:
    """The order's events as they arrive, until its end or until the deadline.

    Those that have arrived while its hops were shown are read in any case.
    """
    events: list[str] = []
    for frame in connection.frames(max(QUIET, deadline - time.monotonic())):
        if frame.get("subject") == order_id:
            events.append(str(frame["type"]))
            if frame["type"] == end:
                break
    return events


def _hops(console: httpx.Client, trace_id: str, complete: Callable[[Sequence[Hop]], bool]) -> list[Hop]:
    """A trace's hops, once it is complete and nothing was added for a while; what there is at the timeout."""
    began = news_at = time.monotonic()
    hops: list[Hop] = []
    spans = 0
    while True:
        trace = _read_trace(console, trace_id)
        now = time.monotonic()
        if trace["span_count"] != spans:
            hops, spans, news_at = trace["hops"], trace["span_count"], now
        if now - began > TRACE_TIMEOUT or (complete(hops) and not _under_way(hops) and now - news_at > QUIET):
            return hops
        time.sleep(_POLL)


def _under_way(hops: Sequence[Hop]) -> bool:
    return any(hop["state"] == FLYING for hop in hops)


def _read_trace(console: httpx.Client, trace_id: str) -> dict[str, Any]:
    try:
        response = console.get(f"/api/traces/{trace_id}/hops")
    except httpx.TransportError as error:
        raise Refused(f"the console at {console.base_url} does not answer ({error}); is the shop up?") from error
    if response.status_code == httpx.codes.NOT_FOUND:
        object_of(response)
        return {"span_count": 0, "hops": []}  # none of it has been exported yet
    if not response.is_success:
        raise Refused(f"the console answered {response.status_code}: {response.text[:200]}")
    return object_of(response, "span_count", "hops")

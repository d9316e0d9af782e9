"""How spans become hops."""

from __future__ import annotations

from console.domain import Kind
from console.hops import hops
from tests.console.spans import span


def test_a_call_and_its_answer_are_one_hop_told_by_the_caller() -> None:
    """A CLIENT span and its SERVER child are one hop with the caller's duration and bytes."""
    call = span(
        "call", Kind.CLIENT, service="gateway", took=5, attributes={"shop.protocol": "gRPC", "shop.bytes.sent": 10}
    )
    answer = span(
        "answer",
        Kind.SERVER,
        parent="call",
        at=1,
        took=3,
        attributes={"shop.bytes.received": 99, "shop.bytes.sent": 20},
    )
    (hop,) = hops([answer, call])
    assert (hop.origin, hop.target, hop.protocol, hop.operation) == ("gateway", "orders", "gRPC", "call")
    assert (hop.duration_ms, hop.bytes_sent, hop.bytes_received) == (5, 10, 20)
    assert hop.queue == ""
    assert hop.waiting_ms is None


def test_what_tells_no_spans_is_named_by_whoever_called_it() -> None:
    """A CLIENT span without an answer is a hop to its `shop.peer`."""
    (hop,) = hops([span("call", Kind.CLIENT, attributes={"shop.protocol": "SOAP", "shop.peer": "legacy_soap"})])
    assert (hop.origin, hop.target) == ("orders", "legacy_soap")


def test_a_request_from_nobody_is_from_the_client() -> None:
    """A SERVER span whose parent is not in the trace is a hop from "client", with its bytes turned round."""
    arrival = span("in", Kind.SERVER, parent="elsewhere", attributes={"shop.bytes.received": 7, "shop.bytes.sent": 8})
    (hop,) = hops([arrival])
    assert (hop.origin, hop.target, hop.bytes_sent, hop.bytes_received) == ("client", "orders", 7, 8)


def test_an_event_is_one_hop_for_each_queue_with_the_time_it_waited() -> None:
    """A PRODUCER span and each of its CONSUMER children are a hop with the queue, the waiting time and the attempt."""
    published = span(
        "publish",
        Kind.PRODUCER,
        took=2,
        attributes={"shop.protocol": "queue", "shop.bytes.sent": 300, "messaging.destination.name": "order.placed"},
    )
    first = span(
        "process",
        Kind.CONSUMER,
        parent="publish",
        service="order_worker",
        at=4,
        took=20,
        attributes={"messaging.destination.name": "order-processing", "shop.attempt": 1},
    )
    mail = span(
        "mail",
        Kind.CONSUMER,
        parent="publish",
        service="mailer",
        at=6,
        attributes={"messaging.destination.name": "order-mail"},
    )
    found = hops([published, first, mail])
    assert [(hop.origin, hop.target, hop.queue, hop.waiting_ms) for hop in found] == [
        ("orders", "order_worker", "order-processing", 4),
        ("orders", "mailer", "order-mail", 6),
    ]
    assert (found[0].operation, found[0].duration_ms, found[0].bytes_sent, found[0].attempt) == (
        "order.placed",
        20,
        300,
        1,
    )


def test_an_event_that_nobody_took_is_a_hop_to_the_broker() -> None:
    """A PRODUCER span without a far side is a hop to its peer."""
    (hop,) = hops([span("publish", Kind.PRODUCER, attributes={"shop.protocol": "AMQP", "shop.peer": "rabbitmq"})])
    assert (hop.target, hop.queue) == ("rabbitmq", "")


def test_who_reads_the_log_is_a_hop_of_its_own() -> None:
    """Another process's sending span under a PRODUCER gives two hops: through the log, and onward."""
    published = span("publish", Kind.PRODUCER, attributes={"shop.protocol": "queue"})
    pushed = span(
        "push",
        Kind.CLIENT,
        parent="publish",
        service="notifier",
        at=3,
        attributes={"shop.protocol": "WebSocket", "shop.peer": "client"},
    )
    assert [(hop.protocol, hop.origin, hop.target, hop.queue) for hop in hops([published, pushed])] == [
        ("queue", "orders", "notifier", "event-log"),
        ("WebSocket", "notifier", "client", ""),
    ]


def test_a_failure_on_either_side_is_the_hops_failure() -> None:
    """A hop has the caller's error, or else the other side's."""
    call = span("call", Kind.CLIENT)
    answer = span("answer", Kind.SERVER, parent="call", error="INTERNAL: oops")
    assert [hop.error for hop in hops([call, answer])] == ["INTERNAL: oops"]


def test_hops_come_in_the_order_in_which_they_began() -> None:
    """Hops are ordered by start and their offsets are since the trace's first span."""
    second = span("second", Kind.CLIENT, parent="first", at=2)
    first = span("first", Kind.SERVER, took=9)
    assert [(hop.operation, hop.offset_ms) for hop in hops([second, first])] == [("first", 0), ("second", 2)]


def test_spans_within_a_process_are_no_hops() -> None:
    """INTERNAL spans, and no spans at all, give no hops."""
    assert hops([span("inside")]) == []
    assert hops([]) == []

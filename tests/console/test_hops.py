"""How spans become hops."""

from __future__ import annotations

from dataclasses import replace

import pytest

from console.domain import AttributeValue, Captured, CodePlace, Kind, Span
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


def test_a_system_without_spans_is_named_by_its_caller() -> None:
    """A CLIENT span without an answer is a hop to its `shop.peer`."""
    (hop,) = hops([span("call", Kind.CLIENT, attributes={"shop.protocol": "SOAP", "shop.peer": "legacy_soap"})])
    assert (hop.origin, hop.target) == ("orders", "legacy_soap")


def test_a_request_without_a_caller_is_from_the_client() -> None:
    """A SERVER span whose parent is not in the trace is a hop from "client", with its bytes turned round."""
    arrival = span("in", Kind.SERVER, parent="elsewhere", attributes={"shop.bytes.received": 7, "shop.bytes.sent": 8})
    (hop,) = hops([arrival])
    assert (hop.origin, hop.target, hop.bytes_sent, hop.bytes_received) == ("client", "orders", 7, 8)


def test_an_append_to_a_log_is_a_hop_of_its_own() -> None:
    """What goes to queues and to Kafka's topic are two hops; the second one leads to its reader, once there is one."""
    facts = {
        "shop.protocol": "queue",
        "messaging.destination.name": "order.paid",
        "cloudevents.event_type": "order.paid",
    }
    to_log = {**facts, "shop.protocol": "Kafka", "shop.peer": "kafka", "messaging.destination.name": "shop.events"}
    published = span("publish", Kind.PRODUCER, attributes=facts)
    appended = span("append", Kind.PRODUCER, parent="publish", at=0.1, attributes=to_log)
    told = span("notify", Kind.PRODUCER, parent="append", service="notifier", at=3, attributes={"shop.peer": "client"})
    found = hops([published, appended, told])
    assert [(hop.protocol, hop.origin, hop.target, hop.operation, hop.queue) for hop in found[:2]] == [
        ("queue", "orders", "broker", "order.paid", ""),
        ("Kafka", "orders", "notifier", "order.paid", "event-log"),
    ]
    assert found[2].parent == found[1].id
    assert [hop.target for hop in hops([published, appended])] == ["broker", "broker"]


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


def test_an_event_that_is_not_taken_is_a_hop_to_the_broker() -> None:
    """A PRODUCER span without a far side is a hop to its peer."""
    (hop,) = hops([span("publish", Kind.PRODUCER, attributes={"shop.protocol": "AMQP", "shop.peer": "rabbitmq"})])
    assert (hop.target, hop.queue) == ("broker", "")


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


def test_a_hop_is_flying_until_its_end_is_known() -> None:
    """A call whose span has no end flies, and so does an event whose consumer is at work; then they have landed."""
    call = span("call", Kind.CLIENT, under_way=True)
    answer = span("answer", Kind.SERVER, parent="call", service="users")
    assert [hop.state for hop in hops([call, answer])] == ["flying"]
    published = span("publish", Kind.PRODUCER)
    taken = span("take", Kind.CONSUMER, parent="publish", service="mailer", under_way=True)
    assert [hop.state for hop in hops([published, taken])] == ["flying"]
    assert [hop.state for hop in hops([published, replace(taken, ended_ns=taken.started_ns + 1)])] == ["landed"]


@pytest.mark.parametrize(
    ("attributes", "error", "state"),
    [
        ({}, "", "landed"),
        ({}, "UNAVAILABLE: gone", "failed"),
        ({"http.response.status_code": 503}, "", "failed"),
        ({"http.response.status_code": 302}, "", "landed"),
    ],
)
def test_a_hop_has_failed_by_its_span_or_its_status(
    attributes: dict[str, AttributeValue], error: str, state: str
) -> None:
    """What did not succeed has failed, also where only the HTTP status says so."""
    assert [hop.state for hop in hops([span("in", Kind.SERVER, error=error, attributes=attributes)])] == [state]


def test_a_hop_belongs_to_the_one_in_whose_work_it_began() -> None:
    """Calls made while a request is answered are its children; so is what is done for an event, and what that calls."""
    spans = [
        span("in", Kind.SERVER, at=0),
        span("inside", parent="in", at=1),
        span("ask", Kind.CLIENT, parent="inside", at=2),
        span("answer", Kind.SERVER, parent="ask", service="catalog", at=3),
        span("publish", Kind.PRODUCER, parent="answer", service="catalog", at=4),
        span("take", Kind.CONSUMER, parent="publish", service="mailer", at=5),
        span("mail", Kind.CLIENT, parent="take", service="mailer", at=6),
    ]
    assert {hop.id: hop.parent for hop in hops(spans)} == {
        "in": None,
        "ask": "in",
        "publish-take": "ask",
        "mail": "publish-take",
    }


def test_what_reads_the_log_goes_on_from_it() -> None:
    """A push made from the event log is the child of the hop through the log, which keeps an id of its own."""
    spans = [span("publish", Kind.PRODUCER), span("push", Kind.PRODUCER, parent="publish", service="notifier", at=1)]
    assert {hop.id: hop.parent for hop in hops(spans)} == {"publish-push": None, "push": "publish-push"}


def test_spans_that_are_each_others_parents_do_no_harm() -> None:
    """A sender may claim anything."""
    assert len(hops([span("a", Kind.CLIENT, parent="b"), span("b", Kind.CLIENT, parent="a")])) == 2


def test_links_lead_to_hops() -> None:
    """A span's links are shown as the hops that they lead into."""
    first = span("first", Kind.CLIENT)
    second = replace(span("second", Kind.CLIENT, at=5), links=("first", "elsewhere"))
    assert [hop.links for hop in hops([first, second])] == [(), ("first",)]


def test_a_hop_is_what_the_code_notes_of_it() -> None:
    """The note of either side is the hop's."""
    call = span("call", Kind.CLIENT, error="UPSTREAM_UNAVAILABLE", attributes={"shop.note": "breaker_open"})
    assert [hop.note for hop in hops([call])] == ["breaker_open"]
    answered = [span("ask", Kind.CLIENT), span("in", Kind.SERVER, parent="ask", attributes={"shop.note": "refused"})]
    assert [hop.note for hop in hops(answered)] == ["refused"]


@pytest.mark.parametrize(
    ("protocol", "status", "note"),
    [
        ("REST", 422, "refused"),
        ("REST", 404, ""),
        ("REST", 500, ""),
        ("webhook", 401, "webhook_refused"),
        ("webhook", 200, ""),
    ],
)
def test_a_refused_request_is_noted(protocol: str, status: int, note: str) -> None:
    """4xx is a refusal, of a webhook one of its own kind; what is not there was not refused."""
    arrival = span("in", Kind.SERVER, attributes={"shop.protocol": protocol, "http.response.status_code": status})
    assert [hop.note for hop in hops([arrival])] == [note]


def test_a_second_attempt_is_a_retry() -> None:
    """A later delivery of an event, a later sending of a webhook, and a call that gRPC has repeated are retries."""
    again = span("take", Kind.CONSUMER, parent="publish", service="mailer", attributes={"shop.attempt": 2})
    (hop,) = hops([span("publish", Kind.PRODUCER), again])
    assert (hop.note, hop.attempt) == ("retry", 2)
    answers = [span(name, Kind.SERVER, parent="call", service="users", at=at) for at, name in enumerate("ab", 1)]
    (hop,) = hops([span("call", Kind.CLIENT), *answers])
    assert (hop.note, hop.attempt) == ("retry", 2)


def test_a_dead_letter_and_its_replay_are_noted() -> None:
    """A first attempt at what was a dead letter of the same queue is its replay; one of another queue is not."""

    def taken(name: str, at: float, queue: str, attempt: int, note: str = "") -> Span:
        facts: dict[str, AttributeValue] = {
            "messaging.destination.name": queue,
            "messaging.message.id": "e-1",
            "shop.attempt": attempt,
        }
        return span(
            name,
            Kind.CONSUMER,
            parent="publish",
            service="mailer",
            at=at,
            attributes={**facts, "shop.note": note} if note else facts,
        )

    found = hops(
        [
            span("publish", Kind.PRODUCER),
            taken("first", 1, "order-mail", 1),
            taken("last", 2, "order-mail", 6, "dead_letter"),
            taken("other", 3, "webhook-delivery", 1),
            taken("again", 4, "order-mail", 1),
            taken("once more", 5, "order-mail", 2),
        ]
    )
    assert [hop.note for hop in found] == ["", "dead_letter", "", "dead_letter_replay", "retry"]


def test_a_hop_has_the_code_and_the_bytes_of_both_sides() -> None:
    """The caller's capture comes first; where nothing was, the far side's is the same turned round."""
    request, response = Captured("grpc", b"ask", 3), Captured("grpc", b"answer", 6)
    place: dict[str, AttributeValue] = {
        "code.file.path": "services/orders/clients.py",
        "code.line.number": 7,
        "code.function.name": "services.orders.clients.Call.it",
    }
    asking = replace(span("ask", Kind.CLIENT, attributes=place), sent=request)
    answering = replace(span("in", Kind.SERVER, parent="ask"), received=Captured("grpc", b"x", 1), sent=response)
    (hop,) = hops([asking, answering])
    assert (hop.sent, hop.received) == (request, response)
    assert hop.code_origin == CodePlace("services/orders/clients.py", 7, "services.orders.clients.Call.it")
    assert hop.code_target is None


def test_a_span_of_another_sdk_is_a_hop_by_the_conventions() -> None:
    """What speaks only OpenTelemetry's semantic conventions has a protocol and a peer."""
    facts: dict[str, AttributeValue] = {"http.request.method": "GET", "server.address": "example.test"}
    (hop,) = hops([span("GET", Kind.CLIENT, attributes=facts)])
    assert (hop.protocol, hop.target) == ("HTTP", "example.test")

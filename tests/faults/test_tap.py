"""The tap reads what real clients and servers of each protocol say, and shows no secret."""

from __future__ import annotations

import json

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, header
from pamqp import frame as amqp_frame

from shop.fault.links.toxics import Direction
from shop.fault.tap.capture import MAX_FRAMES, Seen, Tap
from shop.fault.tap.http1 import Http1
from shop.fault.tap.smtp import Smtp

REQUEST, ANSWER = Direction.REQUEST, Direction.ANSWER
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def told(tap: Tap) -> list[str]:
    return [each.frame.what for each in tap.seen()]


def fields(seen: Seen) -> dict[str, str]:
    return dict(seen.frame.fields)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_grpc_frames_are_told_apart_however_they_are_cut(size: int) -> None:
    """Preface, SETTINGS, HEADERS with HPACK, DATA; the trace is found, the token is not shown."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    for stream in (1, 3):  # the second one's head refers to the first one's
        head = [(":method", "POST"), (":path", "/shop.orders.v1.OrderService/PlaceOrder"), (":scheme", "http")]
        head += [(":authority", "orders"), ("authorization", "Bearer secret-token"), ("traceparent", TRACEPARENT)]
        client.send_headers(stream, head)
        client.send_data(stream, b"\0\0\0\0\5hello", end_stream=True)
    sent, tap = client.data_to_send(), Tap("gRPC", 60)
    for start in range(0, len(sent), size):
        tap.saw(1, REQUEST, sent[start : start + size])
    if size < 24:
        assert told(tap)  # a preface in pieces is counted
        return
    assert told(tap)[:2] == ["connection preface", "SETTINGS stream 0"]
    heads = [each for each in tap.seen() if each.frame.what.startswith("HEADERS")]
    assert [fields(each)[":path"] for each in heads] == ["/shop.orders.v1.OrderService/PlaceOrder"] * 2
    assert [each.frame.traceparent for each in heads] == [TRACEPARENT] * 2
    assert "DATA stream 3 (10 bytes, END_STREAM)" in told(tap)
    assert sum(each.frame.size for each in tap.seen()) == len(sent)
    assert "secret-token" not in json.dumps([each.as_dict() for each in tap.seen()])


def test_the_frames_of_one_trace_are_those_of_its_stream() -> None:
    """Its head, its data, and the answer's; not the neighbour's."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    client.initiate_connection()
    head = [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "o")]
    client.send_headers(1, [*head, ("traceparent", TRACEPARENT)], end_stream=True)
    client.send_headers(3, head, end_stream=True)
    asked = client.data_to_send()
    server.receive_data(asked)
    for stream in (1, 3):
        server.send_headers(stream, [(":status", "200")], end_stream=True)
    tap = Tap("gRPC", 60)
    tap.saw(1, REQUEST, asked)
    tap.saw(1, ANSWER, server.data_to_send())
    assert {each.frame.what.split(" (")[0] for each in tap.seen(TRACE)} == {"HEADERS stream 1"}
    assert [each.direction for each in tap.seen(TRACE)] == [REQUEST, ANSWER]


def test_http_heads_bodies_chunks_and_a_websocket() -> None:
    """Content-Length, chunked, and frames after the upgrade, masked or not."""
    tap = Tap("REST", 60)
    tap.saw(1, REQUEST, b"POST /v1/orders HTTP/1.1\r\nHost: a\r\nCookie: x=y\r\ntraceparent: " + TRACEPARENT.encode())
    tap.saw(1, REQUEST, b"\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
    tap.saw(1, ANSWER, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    tap.saw(1, ANSWER, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi")
    tap.saw(1, REQUEST, b"\x81\x85abcd\x00\x00\x00\x00\x00\x88\x80abcd")
    assert told(tap) == [
        "POST /v1/orders HTTP/1.1",
        "body, 5 bytes",
        "GET / HTTP/1.1",
        "HTTP/1.1 200 OK",
        "chunk, 3 bytes",
        "last chunk",
        "HTTP/1.1 101 Switching Protocols",
        "WebSocket text (2 bytes)",
        "WebSocket text (masked, 5 bytes)",
        "WebSocket close (masked, 0 bytes)",
    ]
    first = tap.seen()[0]
    assert (first.frame.traceparent, fields(first)["Cookie"]) == (TRACEPARENT, "***")


def test_amqp_methods_headers_and_bodies() -> None:
    """A publish with the event's trace in its header, on a connection that was there before."""
    publish = commands.Basic.Publish(exchange="shop.events", routing_key="order.placed")
    properties = commands.Basic.Properties(headers={"traceparent": TRACEPARENT}, content_type="application/json")
    tap = Tap("AMQP", 60)
    for made in (publish, header.ContentHeader(0, 2, properties)):
        tap.saw(1, REQUEST, amqp_frame.marshal(made, 3))
    assert told(tap) == ["Basic.Publish, channel 3", "header, channel 3 (a body of 2 bytes)"]
    assert fields(tap.seen()[0])["routing_key"] == "order.placed"
    assert len(tap.seen(TRACE)) == 2


def test_smtp_commands_replies_and_a_mails_head() -> None:
    """The mail's body is counted, and what signs in is not shown."""
    tap = Tap("SMTP", 60)
    tap.saw(1, ANSWER, b"220 ready\r\n")
    tap.saw(1, REQUEST, b"AUTH PLAIN c2VjcmV0\r\nDATA\r\nSubject: Hello\r\n\r\nbody\r\n.\r\nQUIT\r\n")
    assert told(tap) == ["220 ready", "AUTH ***", "DATA", "a mail of 27 bytes", "QUIT"]
    assert fields(tap.seen()[3]) == {"Subject": "Hello"}


@given(st.lists(st.tuples(st.sampled_from([REQUEST, ANSWER]), st.binary(max_size=300)), max_size=20), st.data())
def test_garbage_is_counted_and_never_raises(chunks: list[tuple[Direction, bytes]], data: st.DataObject) -> None:
    """Whatever comes, on whatever link, its bytes are counted."""
    tap = Tap(data.draw(st.sampled_from(["gRPC", "AMQP", "SMTP", "REST", "PostgreSQL"])), 60)
    for direction, chunk in chunks:
        tap.saw(1, direction, data.draw(st.sampled_from([b"", b"GET ", b"HTTP/1.1 ", b"PRI * HTTP/2.0"])) + chunk)
    assert all(each.frame.size >= 0 for each in tap.seen())


def test_what_is_kept_is_bounded_and_ends() -> None:
    """The newest frames stay, and nothing is kept when the time is over."""
    now = 0.0
    tap = Tap("REST", 60, clock=lambda: now)
    for number in range(MAX_FRAMES + 10):
        tap.saw(1, REQUEST, b"GET /%d HTTP/1.1\r\n\r\n" % number)
    assert len(tap.seen()) == MAX_FRAMES
    assert told(tap)[-1] == f"GET /{MAX_FRAMES + 9} HTTP/1.1"
    now = 61.0
    tap.saw(1, REQUEST, b"GET /late HTTP/1.1\r\n\r\n")
    assert "GET /late HTTP/1.1" not in told(tap)


def test_a_head_that_does_not_end_is_not_kept_for_ever() -> None:
    """Nor a line of SMTP."""
    with pytest.raises(ValueError, match="does not end"):
        Http1([False]).feed(b"GET / HTTP/1.1\r\n" + b"x" * 70_000)
    with pytest.raises(ValueError, match="does not end"):
        Smtp(client=True).feed(b"x" * 70_000)

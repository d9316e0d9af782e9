"""The tap reads what real clients and servers of each protocol say, and shows no secret."""

from __future__ import annotations

import json
from collections import deque

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, header
from pamqp import frame as amqp_frame

from shop.fault.links.toxics import Direction
from shop.fault.tap.capture import MAX_BYTES, MAX_FRAMES, Seen, Tap
from shop.fault.tap.hpack_fields import written
from shop.fault.tap.http1 import Http1
from shop.fault.tap.http2 import PREFACE
from shop.fault.tap.smtp import Smtp

REQUEST, ANSWER = Direction.REQUEST, Direction.ANSWER
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def described(tap: Tap) -> list[str]:
    return [each.frame.what for each in tap.seen()]


def fields(seen: Seen) -> dict[str, str]:
    return dict(seen.frame.fields)


@pytest.mark.parametrize("size", [1, 7, 24, 100, 10_000])
def test_grpc_frames_are_distinguished_however_they_are_cut(size: int) -> None:
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
    if size < 24:  # a preface in pieces is not recognised, and everything is counted
        assert sum(each.frame.size for each in tap.seen()) == len(sent)
        return
    assert described(tap)[:2] == ["connection preface", "SETTINGS stream 0"]
    heads = [each for each in tap.seen() if each.frame.what.startswith("HEADERS")]
    assert [fields(each)[":path"] for each in heads] == ["/shop.orders.v1.OrderService/PlaceOrder"] * 2
    assert [each.frame.traceparent for each in heads] == [TRACEPARENT] * 2
    assert "DATA stream 3 (10 bytes, END_STREAM)" in described(tap)
    assert sum(each.frame.size for each in tap.seen()) == len(sent)
    assert "secret-token" not in json.dumps([each.as_dict() for each in tap.seen()])


def test_each_byte_of_a_frame_is_a_piece_and_no_secret_is_kept() -> None:
    """HPACK field by field: a literal, then its index alone; a secret's literal is asterisks, as many as it had."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.initiate_connection()
    for stream in (1, 3):
        head = [(":method", "POST"), (":path", "/shop.orders.v1.OrderService/PlaceOrder"), (":scheme", "http")]
        head += [(":authority", "o"), ("authorization", "Bearer secret-token"), ("traceparent", TRACEPARENT)]
        client.send_headers(stream, head)
        client.send_data(stream, b"\0\0\0\0\5hello", end_stream=True)
    sent, tap = client.data_to_send(), Tap("gRPC", 60)
    tap.saw(1, REQUEST, sent)
    for each in tap.seen()[1:]:
        ends = [0, *(piece.end for piece in each.frame.pieces)]
        assert [piece.start for piece in each.frame.pieces] == ends[:-1]
        assert ends[-1] == each.frame.size == len(each.frame.content)
    first, second = (each.frame for each in tap.seen() if each.frame.what.startswith("HEADERS"))
    path, repeated = (
        next(piece for piece in found.pieces if piece.name == "header :path") for found in (first, second)
    )
    assert "Huffman" in path.meaning
    assert (repeated.end - repeated.start, path.end - path.start > 20) == (1, True)
    secret = next(piece for piece in first.pieces if piece.name == "header authorization")
    # All but how it is written: its name's index, and the length of what follows.
    assert set(first.content[secret.start + 3 : secret.end]) == set(b"*")
    assert b"hello" in tap.seen()[-1].frame.content


@pytest.mark.parametrize("block", [b"\x40", b"\x40\x01", b"\xff", b"\xff" + b"\xff" * 20, b"\x00\x7f\x00"])
def test_a_block_that_does_not_end_is_no_hpack(block: bytes) -> None:
    """A number, a text, or the block itself."""
    with pytest.raises(ValueError, match="no HPACK"):
        list(written(block))


def test_no_secret_is_kept_of_any_protocol() -> None:
    """Nor of a body that came in pieces, of what signs in to the broker, or behind a WebSocket's mask."""
    rest, amqp, smtp = Tap("REST", 60), Tap("AMQP", 60), Tap("SMTP", 60)
    rest.saw(1, REQUEST, b"GET /notifications?token=s3cret-1 HTTP/1.1\r\nCookie: s3cret-2\r\n\r\n")
    rest.saw(1, REQUEST, b'POST / HTTP/1.1\r\nContent-Length: 23\r\n\r\n{"password": "s3cret-3"}')
    rest.saw(1, REQUEST, b'POST / HTTP/1.1\r\nContent-Length: 30\r\n\r\n{"password": "s3c')
    rest.saw(1, REQUEST, b'ret-4ret-4ret-"}')
    rest.saw(2, REQUEST, b"GET / HTTP/1.1\r\n\r\n")
    rest.saw(2, ANSWER, b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    key = b"abcd"
    payload = bytes(byte ^ key[at % 4] for at, byte in enumerate(b'{"token": "s3cret-5"}'))
    rest.saw(2, REQUEST, b"\x81" + bytes([0x80 | len(payload)]) + key + payload)
    started = commands.Connection.StartOk(mechanism="PLAIN", response="\0guest\0s3cret-6")
    amqp.saw(1, REQUEST, amqp_frame.marshal(started, 0))
    smtp.saw(1, REQUEST, b"AUTH LOGIN\r\nczNjcmV0LTc=\r\nczNjcmV0LTg=\r\nMAIL FROM:<a@b>\r\n")
    kept = json.dumps([each.as_dict() for tap in (rest, amqp, smtp) for each in tap.seen()])
    contents = b"".join(each.frame.content for tap in (rest, amqp, smtp) for each in tap.seen())
    unmasked = bytes(byte ^ key[at % 4] for at, byte in enumerate(rest.seen()[-1].frame.content[6:]))
    for text in (kept.encode(), contents, unmasked):
        assert b"cret-" not in text
        assert b"czNj" not in text
    assert unmasked == b'{"token": "********"}'
    assert described(smtp) == ["AUTH ***", "AUTH ***", "AUTH ***", "MAIL FROM:<a@b>"]


def test_contents_are_bounded_on_each_link() -> None:
    """The oldest go first."""
    tap = Tap("REST", 60)
    for number in range(MAX_BYTES // 4_000 + 10):
        tap.saw(number, REQUEST, b"POST / HTTP/1.1\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4_000)
    assert sum(len(each.frame.content) for each in tap.seen()) <= MAX_BYTES
    assert tap.seen()[-1].connection == MAX_BYTES // 4_000 + 9


def test_the_frames_of_one_exchange_are_its_own() -> None:
    """On a connection that is kept alive, and on a channel of AMQP with other messages before and after."""
    rest, amqp = Tap("REST", 60), Tap("AMQP", 60)
    for number in range(3):
        parent = TRACEPARENT if number == 1 else TRACEPARENT.replace("0af", "fff")
        rest.saw(1, REQUEST, b"GET /%d HTTP/1.1\r\ntraceparent: %b\r\n\r\n" % (number, parent.encode()))
        rest.saw(1, ANSWER, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        properties = commands.Basic.Properties(headers={"cloudEvents:traceparent": parent})
        publish = commands.Basic.Publish(exchange="shop.events", routing_key=str(number))
        for made in (publish, header.ContentHeader(0, 1, properties), body.ContentBody(b"%d" % number)):
            amqp.saw(1, REQUEST, amqp_frame.marshal(made, 3))
    found = [each.frame for each in rest.seen(TRACE)]
    assert [each.what for each in found] == [
        "GET /1 HTTP/1.1",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 200 OK",
        "body, 1 bytes",
    ]
    assert found[-1].content == b"1"
    assert [each.frame.what.split(",")[0] for each in amqp.seen(TRACE)] == ["Basic.Publish", "header", "body"]
    assert amqp.seen(TRACE)[-1].frame.content[7:-1] == b"1"


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
    assert described(tap) == [
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


def test_http_answers_to_head_and_trailers_swallow_nothing() -> None:
    """HEAD's answer has no body, whatever its length says; a chunked body ends with the line after its trailers."""
    tap = Tap("REST", 60)
    tap.saw(1, REQUEST, b"HEAD / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    answered = [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"]
    answered += [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
    answered += [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nDigest: x\r\n",
        b"More: y\r\n\r",
        b"\n",
    ]
    answered += [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"]
    for piece in answered:
        tap.saw(1, ANSWER, piece)
    assert [each.frame.what for each in tap.seen() if each.direction is ANSWER] == [
        "HTTP/1.1 200 OK",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "chunk, 3 bytes",
        "last chunk",
        "HTTP/1.1 200 OK",
        "body, 2 bytes",
    ]
    assert sum(each.frame.size for each in tap.seen() if each.direction is ANSWER) == sum(map(len, answered))


def test_a_websocket_that_was_open_before_is_read() -> None:
    """From a chunk that begins with a frame; on no other link is such a byte taken for one."""
    socket, other = Tap("WebSocket", 60), Tap("REST", 60)
    for tap in (socket, other):
        tap.saw(1, ANSWER, b"\x81\x02hi\x89\x00")
    assert described(socket) == ["WebSocket text (2 bytes)", "WebSocket ping (0 bytes)"]
    assert described(other) == ["6 bytes"]


def test_amqp_methods_headers_and_bodies() -> None:
    """A publish with the event's trace in its header, on a connection that was there before."""
    publish = commands.Basic.Publish(exchange="shop.events", routing_key="order.placed")
    properties = commands.Basic.Properties(headers={"traceparent": TRACEPARENT}, content_type="application/json")
    tap = Tap("AMQP", 60)
    for made in (publish, header.ContentHeader(0, 2, properties)):
        tap.saw(1, REQUEST, amqp_frame.marshal(made, 3))
    assert described(tap) == ["Basic.Publish, channel 3", "header, channel 3 (a body of 2 bytes)"]
    assert fields(tap.seen()[0])["routing_key"] == "order.placed"
    assert len(tap.seen(TRACE)) == 2


def test_smtp_commands_replies_and_a_mails_head() -> None:
    """The mail's body is counted, and what signs in is not shown."""
    tap = Tap("SMTP", 60)
    tap.saw(1, ANSWER, b"220 ready\r\n")
    tap.saw(1, REQUEST, b"AUTH PLAIN c2VjcmV0\r\nDATA\r\nSubject: Hello\r\n\r\nbody\r\n.\r\nQUIT\r\n")
    assert described(tap) == ["220 ready", "AUTH ***", "DATA", "a mail of 27 bytes", "QUIT"]
    assert fields(tap.seen()[3]) == {"Subject": "Hello"}


@given(st.lists(st.tuples(st.sampled_from([REQUEST, ANSWER]), st.binary(max_size=300)), max_size=20), st.data())
def test_garbage_is_counted_and_never_raises(chunks: list[tuple[Direction, bytes]], data: st.DataObject) -> None:
    """Whatever comes, on whatever link, its bytes are counted once: of what is not read whole, all of them."""
    tap = Tap(data.draw(st.sampled_from(["gRPC", "AMQP", "SMTP", "REST", "PostgreSQL"])), 60)
    sent = 0
    for direction, chunk in chunks:
        whole = data.draw(st.sampled_from([b"", b"GET ", b"HTTP/1.1 ", b"PRI * HTTP/2.0"])) + chunk
        tap.saw(1, direction, whole)
        sent += len(whole)
        counted = sum(each.frame.size for each in tap.seen())
        assert counted <= sent
    if {each.protocol for each in tap.seen()} == {"bytes"}:
        assert sum(each.frame.size for each in tap.seen()) == sent


@pytest.mark.parametrize(
    ("link", "pieces"),
    [
        ("REST", [b"GET / HTTP/1.1\r\n" + b"x" * 60_000, b"x" * 10_000]),
        ("REST", [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", b"c\r\n-6\r\nabc"]),
        ("gRPC", [PREFACE + b"\0\0\1\4\0", b"\0\0\0\0x"]),
        ("AMQP", [b"AMQP\0\0\x09\x01\1\0\1\0\0", b"\0\1xy"]),
        ("SMTP", [b"x" * 60_000, b"x" * 10_000]),
    ],
    ids=["a head that does not end", "a chunk of no size", "HTTP/2", "AMQP", "SMTP"],
)
def test_what_turns_out_to_be_no_frame_is_counted_whole(link: str, pieces: list[bytes]) -> None:
    """The pieces that came before the mistake was clear, too, each byte once; so is what the other direction sends."""
    tap = Tap(link, 60)
    tap.saw(1, REQUEST, pieces[0])
    tap.saw(1, ANSWER, b"HTTP/1.1 200 OK\r\nContent-")
    for piece in (*pieces[1:], b"and the rest"):
        tap.saw(1, REQUEST, piece)
    assert any("(" in each for each in described(tap)), "it was read as a frame"
    tap.saw(1, ANSWER, b"Length: 1")
    assert sum(each.frame.size for each in tap.seen()) == sum(map(len, pieces)) + 46


def test_what_is_kept_is_bounded_and_ends() -> None:
    """The newest frames stay, and nothing is kept when the time is over."""
    now = 0.0
    tap = Tap("REST", 60, clock=lambda: now)
    for number in range(MAX_FRAMES + 10):
        tap.saw(1, REQUEST, b"GET /%d HTTP/1.1\r\n\r\n" % number)
    assert len(tap.seen()) == MAX_FRAMES
    assert described(tap)[-1] == f"GET /{MAX_FRAMES + 9} HTTP/1.1"
    now = 61.0
    tap.saw(1, REQUEST, b"GET /late HTTP/1.1\r\n\r\n")
    assert "GET /late HTTP/1.1" not in described(tap)


def test_a_tap_that_goes_on_keeps_what_it_has_seen() -> None:
    """Its time begins anew, and may be an hour, as that of a fault."""
    now = 0.0
    tap = Tap("REST", 60, clock=lambda: now)
    tap.saw(1, REQUEST, b"GET /first HTTP/1.1\r\n\r\n")
    now = 50.0
    tap.last(3_600)
    now = 3_600.0
    tap.saw(1, REQUEST, b"GET /last HTTP/1.1\r\n\r\n")
    assert described(tap) == ["GET /first HTTP/1.1", "GET /last HTTP/1.1"]
    with pytest.raises(ValueError, match="up to 3600 s"):
        tap.last(3_601)


def test_a_head_that_does_not_end_is_not_kept_for_ever() -> None:
    """Nor a line of SMTP."""
    with pytest.raises(ValueError, match="does not end"):
        Http1([False], deque()).feed(b"GET / HTTP/1.1\r\n" + b"x" * 70_000)
    with pytest.raises(ValueError, match="does not end"):
        Smtp(client=True).feed(b"x" * 70_000)

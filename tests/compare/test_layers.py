"""Which byte is for what, in conversations that are known to the byte."""

from __future__ import annotations

import h2.config
import h2.connection
import pamqp.commands
import pamqp.header
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, frame

from bench.compare.measure.layers import READERS, Layer, window

HEAD = b"POST /x HTTP/1.1\r\nHost: shop\r\n"
TOKEN = b"Authorization: Bearer abc\r\n"


def counted(wire: str, data: bytes) -> dict[str, int]:
    spans = list(READERS[wire](data))
    assert sum(size for _, size in spans) == len(data)
    return window(spans, 0, len(data))


def test_http1_with_a_length() -> None:
    """Head, identity and body of two messages in a row, and a body that looks like a head."""
    message = HEAD + TOKEN + b"Content-Length: 8\r\n\r\nGET /\r\n\r"
    assert counted("http1", message * 2) == {"head": 2 * (len(message) - len(TOKEN) - 8), "identity": 54, "body": 16}


def test_http1_in_chunks() -> None:
    """Sizes and their line ends are framing; what they frame is body."""
    message = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n"
    assert counted("http1", message) == {"head": len(HEAD) + 30, "framing": 19, "body": 8}


def test_grpc_web() -> None:
    """Five bytes before each message are framing; the trailers' message is head."""
    content = b"\0\0\0\0\3abc" + b"\x80\0\0\0\4gh:0"
    message = HEAD + b"Content-Type: application/grpc-web+proto\r\nContent-Length: 17\r\n\r\n" + content
    assert counted("http1", message) == {"head": len(message) - 17 + 4, "framing": 10, "body": 3}


def test_http2() -> None:
    """Preface, settings, header blocks and gRPC's messages, as h2 writes them."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    connection.send_headers(1, [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "shop")])
    connection.send_data(1, b"\0\0\0\0\3abc", end_stream=True)
    connection.ping(b"12345678")
    found = counted("http2", connection.data_to_send())
    assert found["set-up"] == 24
    assert found["framing"] == 9 + 9 + 5
    assert found["body"] == 3
    assert found["control"] > 17  # the ping, and settings of whatever length


def test_http2_of_a_plain_body() -> None:
    """What is no gRPC has no messages inside its data: all of it is body."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    connection.clear_outbound_data_buffer()
    connection.send_headers(1, [(":method", "POST"), (":path", "/x"), (":scheme", "http"), (":authority", "shop")])
    connection.send_data(1, b'{"id":"42"}', end_stream=True)
    found = counted("http2-plain", connection.data_to_send())
    assert found == {"framing": 9 + 9, "head": found["head"], "body": 11}


def test_websocket() -> None:
    """The handshake is set-up; frame heads and masks are framing; a ping is control."""
    handshake = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
    frames = b"\x81\x83maskabc" + b"\x81\x7e\x01\x00" + b"x" * 256 + b"\x89\x02hi"
    found = counted("websocket", handshake + frames)
    assert found == {"set-up": len(handshake), "framing": 6 + 4, "body": 3 + 256, "control": 4}


def test_amqp() -> None:
    """Publish and content head are head, the body is body, an acknowledgement is control, the rest set-up."""
    parts = [
        b"AMQP\0\0\x09\x01",
        frame.marshal(pamqp.commands.Channel.Open(), 1),
        frame.marshal(pamqp.commands.Basic.Publish(exchange="", routing_key="rpc"), 1),
        frame.marshal(pamqp.header.ContentHeader(body_size=5, properties=pamqp.commands.Basic.Properties()), 1),
        frame.marshal(body.ContentBody(b"hello"), 1),
        frame.marshal(pamqp.commands.Basic.Ack(1), 1),
    ]
    found = counted("amqp", b"".join(parts))
    assert found["set-up"] == len(parts[0]) + len(parts[1])
    assert found["body"] == 5
    assert found["control"] == len(parts[5])
    assert found["framing"] == 3 * 8
    assert found["head"] == len(parts[2]) + len(parts[3]) - 2 * 8


@given(st.lists(st.tuples(st.sampled_from(list(Layer)), st.integers(0, 50)), max_size=20), st.data())
def test_windows_add_up(spans: list[tuple[Layer, int]], data: st.DataObject) -> None:
    """Wherever a conversation is divided, the windows' bytes are together those of the whole."""
    size = sum(each for _, each in spans)
    cut = data.draw(st.integers(0, size))
    left, right, whole = window(spans, 0, cut), window(spans, cut, size), window(spans, 0, size)
    assert sum(left.values()) == cut
    assert {name: left.get(name, 0) + right.get(name, 0) for name in whole} == whole


@pytest.mark.parametrize("wire", sorted(READERS))
def test_nothing_is_nothing(wire: str) -> None:
    """A connection on which nothing was sent has no bytes of any layer."""
    assert counted(wire, b"") == {}

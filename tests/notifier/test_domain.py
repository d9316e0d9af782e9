"""The decisions, as pure functions."""

from __future__ import annotations

import pytest

from chassis.broker.event_log import Position
from chassis.errors import ShopError
from chassis.http.origin_check import origin_allowed
from services.notifier.domain import TokenBucket, check_topics, matches, wanted
from services.notifier.transports.frames import Frame
from services.notifier.transports.protocol import Chat, Ping, Subscribe, Unsubscribe, parse


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("order.*", "order.paid", True),
        ("order.*", "order", False),
        ("order.*", "order.paid.late", False),
        ("order.#", "order", True),
        ("order.#", "order.paid.late", True),
        ("#", "stock.changed", True),
        ("*.paid", "order.paid", True),
        ("order.paid", "order.paid2", False),
    ],
)
def test_topics_match_as_in_amqp(pattern: str, event_type: str, expected: bool) -> None:
    """`*` stands for exactly one word, `#` for any number of them."""
    assert matches(pattern, event_type) is expected


def test_topic_counts_from_where_it_was_subscribed() -> None:
    """An event is wanted when one of the topics that take it was subscribed before it."""
    topics = {"order.*": Position.at(10), "order.paid": Position.at(5)}
    assert wanted(topics, "order.paid", 0, 6)
    assert not wanted(topics, "order.shipped", 0, 10)
    assert wanted(topics, "order.shipped", 0, 11)


@pytest.mark.parametrize(
    "topics", [[], ["order paid"], ["order."], ["x" * 33], ["a"] * 1 + [str(n) for n in range(32)]]
)
def test_topics_are_bounded(topics: list[str]) -> None:
    """A topic is a short pattern of words, and there are not many of them."""
    with pytest.raises(ShopError, match="INVALID_TOPIC"):
        check_topics(topics)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, True),
        ("https://shop.example", True),
        ("http://localhost:5173", True),
        ("http://localhost", True),
        ("https://localhost:5173", False),
        ("http://localhost.evil.example", False),
        ("https://evil.example", False),
        ("http://notifier:8001", True),
        ("http://[", False),
        ("null", False),
        ("", False),
    ],
)
def test_origin_is_the_own_host_or_an_allowed_one(origin: str | None, expected: bool) -> None:
    """A page may connect from the same host or from an allowed origin, whose port may be left open."""
    assert origin_allowed(origin, "notifier:8001", ("https://shop.example", "http://localhost:*")) is expected


def test_bucket_refills_with_time() -> None:
    """A bucket gives its burst at once, and then its rate."""
    now = [0.0]
    bucket = TokenBucket(2.0, 3.0, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [bucket.take() for _ in range(2)] == [True, False]


def test_client_frames() -> None:
    """The surface's four frames are understood; what they hold besides is passed over."""
    assert parse('{"action":"subscribe","topics":["order.*"],"after":"7"}') == Subscribe(("order.*",), Position.at(7))
    assert parse('{"action":"subscribe","topics":["order.*"],"after":"k3.0.5"}') == Subscribe(
        ("order.*",), Position((3, 0, 5), "k")
    )
    assert parse('{"action":"subscribe","topics":["order.*"],"ref":1}') == Subscribe(("order.*",), None)
    assert parse('{"action":"unsubscribe","topics":["order.*"]}') == Unsubscribe(("order.*",))
    assert parse('{"action":"chat","room":"o1","text":" hi "}') == Chat("o1", "hi")
    assert parse('{"action":"ping"}') == Ping()


@pytest.mark.parametrize(("size", "header"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_websocket_frame_has_the_shortest_length_field(size: int, header: int) -> None:
    """The length is encoded as RFC 6455, 5.2 demands: in the fewest bytes."""
    encoded = Frame(b"x" * size).websocket
    assert encoded[0] == 0x81
    assert len(encoded) == header + size


def test_event_stream_block() -> None:
    """A block has the position and the data; a silent one only moves the position; a chunk wraps it."""
    assert Frame(b"{}", position=Position.at(7)).event_stream == b"id: 7\ndata: {}\n\n"
    assert Frame(b"{}", position=Position.at(7), silent=True).event_stream == b"id: 7\n\n"
    assert Frame(b"{}").event_stream_chunk == b"a\r\ndata: {}\n\n\r\n"

"""The decisions, as pure functions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chassis.auth.identity import ANONYMOUS, Principal
from chassis.broker.event_log import Position
from chassis.broker.port import Event
from chassis.errors import Kind, ShopError
from chassis.http.origin_check import origin_allowed
from services.notifier.domain import TokenBucket, channel_of, check_text, check_topics, may_see, wanted
from services.notifier.frames import Frame
from services.notifier.transports.protocol import Chat, Ping, Subscribe, Unsubscribe, parse


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
    with pytest.raises(ShopError) as refusal:
        check_topics(topics)
    assert (refusal.value.code, refusal.value.kind) == ("INVALID_TOPIC", Kind.INVALID)
    wrong = topics[0][:64] if len(topics) == 1 else ""
    words = (
        "topic must be 1 to 8 words of at most 32 characters (a-z, 0-9, _, -), * or #, joined by dots, "
        f"such as order.*: got {wrong!r}"
        if wrong
        else "topics must have 1 to 32 entries"
    )
    assert refusal.value.message == words


def test_topics_are_taken_once_each_up_to_their_bound() -> None:
    """Repeats are not counted."""
    topics = [f"t{number}" for number in range(32)]
    assert check_topics([*topics, "t0"]) == tuple(topics)


def test_a_long_topic_is_shown_by_its_beginning() -> None:
    """64 characters of it."""
    with pytest.raises(ShopError) as refusal:
        check_topics(["x" * 65])
    assert refusal.value.message.endswith(f"such as order.*: got '{'x' * 64}'")


@pytest.mark.parametrize(
    ("text", "kept"), [("a", "a"), (" a ", "a"), ("x" * 2_000, "x" * 2_000), ("1.\t👩‍👩‍👧\r\n2.", "1.\t👩‍👩‍👧\r\n2.")]
)
def test_texts_that_are_taken(text: str, kept: str) -> None:
    """One to two thousand characters, line breaks and tabs among them, without the space around them."""
    assert check_text(text) == kept


@pytest.mark.parametrize("text", ["", "  ", "x" * 2_001])
def test_texts_that_are_refused(text: str) -> None:
    """Nothing, or a character too many."""
    with pytest.raises(ShopError) as refusal:
        check_text(text)
    assert (refusal.value.code, refusal.value.kind) == ("INVALID_TEXT", Kind.INVALID)
    assert refusal.value.message == "text must have 1 to 2000 characters"


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x00b", "\x7f", "\x9b2J", "a\x0bb"])
def test_texts_with_control_characters_are_refused(text: str) -> None:
    """A terminal that shows the chat would obey them."""
    with pytest.raises(ShopError) as refusal:
        check_text(text)
    assert (refusal.value.code, refusal.value.kind) == ("INVALID_TEXT", Kind.INVALID)


@pytest.mark.parametrize(
    ("principal", "owner", "seen"),
    [
        (Principal("a1", "admin"), "u1", True),
        (Principal("a1", "admin"), "", True),
        (Principal("u1", "customer"), "u1", True),
        (Principal("u2", "customer"), "u1", False),
        (Principal("u1", "customer"), "", False),
        (Principal("u1", "service"), "u1", False),
        (ANONYMOUS, "", False),
        # No owner is not an owner of that name.
        (Principal("None", "customer"), "", False),
    ],
)
def test_who_sees_an_event(principal: Principal, owner: str, *, seen: bool) -> None:
    """An admin sees every one, a customer those that concern them, and no other caller any."""
    extensions = {"userid": owner} if owner else {}
    event = Event("e1", "order.paid", "/orders", "o1", datetime(2026, 3, 1, tzinfo=UTC), b"{}", extensions)
    assert may_see(principal, event) is seen
    assert channel_of(principal) == ("everything" if principal.is_admin else f"{principal.role}:{principal.subject}")


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

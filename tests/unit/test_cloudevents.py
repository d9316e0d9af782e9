"""Events as CloudEvents in AMQP messages (CloudEvents 1.0.2, AMQP protocol binding, binary content mode)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.broker import cloudevents
from chassis.broker.cloudevents import MAX_DATA_BYTES, InvalidEvent
from chassis.broker.port import Event

EVENT = Event(
    id="e-1",
    type="order.placed",
    source="/orders",
    subject="order-1",
    time=datetime(2026, 3, 1, 12, 30, 0, 250_000, tzinfo=UTC),
    data=b'{"total": "9.90"}',
    extensions={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "sequence": "7"},
)
HEADERS = {
    "cloudEvents:specversion": "1.0",
    "cloudEvents:id": "e-1",
    "cloudEvents:source": "/orders",
    "cloudEvents:type": "order.placed",
    "cloudEvents:subject": "order-1",
    "cloudEvents:time": "2026-03-01T12:30:00.250000Z",
    "cloudEvents:traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "cloudEvents:sequence": "7",
}


def test_each_attribute_is_a_header() -> None:
    """Section 3.1.3.1: every attribute is a header with the prefix `cloudEvents:`."""
    assert cloudevents.headers(EVENT) == HEADERS


def test_other_headers_are_passed_over() -> None:
    """Headers of the broker or of a consumer are no attributes of the event."""
    assert cloudevents.event({**HEADERS, "x-attempt": 3, "x-death": []}, EVENT.data) == EVENT


def test_a_time_elsewhere_is_the_same_moment() -> None:
    """Times are sent in UTC, whatever zone they come in."""
    elsewhere = EVENT.time.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert cloudevents.headers(replace(EVENT, time=elsewhere)) == HEADERS


@given(
    id_=st.text(min_size=1, max_size=50),
    subject=st.text(max_size=50),
    time=st.datetimes(timezones=st.just(UTC)),
    data=st.binary(max_size=200),
    extensions=st.dictionaries(st.from_regex(r"ext[a-z0-9]{1,10}", fullmatch=True), st.text(max_size=50)),
)
def test_what_is_sent_is_what_is_received(
    id_: str, subject: str, time: datetime, data: bytes, extensions: dict[str, str]
) -> None:
    """An event survives the way through its headers."""
    event = Event(id_, "order.placed", "/orders", subject, time, data, extensions)
    assert cloudevents.event(cloudevents.headers(event), event.data) == event


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(replace(EVENT, id=""), id="no id"),
        pytest.param(replace(EVENT, type=""), id="no type"),
        pytest.param(replace(EVENT, source=""), id="no source"),
        pytest.param(replace(EVENT, time=EVENT.time.replace(tzinfo=None)), id="time without zone"),
        pytest.param(replace(EVENT, data=b"x" * (MAX_DATA_BYTES + 1)), id="too large"),
        pytest.param(replace(EVENT, extensions={"Trace-Parent": ""}), id="extension name"),
        pytest.param(replace(EVENT, extensions={"subject": ""}), id="extension hides an attribute"),
    ],
)
def test_what_could_not_be_read_back_is_not_sent(event: Event) -> None:
    """An event that a receiver would refuse is refused before it is sent."""
    with pytest.raises(InvalidEvent):
        cloudevents.headers(event)


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "subject", "time"])
def test_a_message_without_a_required_attribute_is_no_event(name: str) -> None:
    """A missing attribute is named."""
    headers = {header: value for header, value in HEADERS.items() if header != f"cloudEvents:{name}"}
    with pytest.raises(InvalidEvent, match=name):
        cloudevents.event(headers, b"{}")


@pytest.mark.parametrize(
    ("name", "value"),
    [("specversion", "2.0"), ("time", "yesterday"), ("time", "2026-03-01T12:30:00"), ("id", 7), ("type", b"\xff")],
)
def test_a_malformed_attribute_is_no_event(name: str, value: object) -> None:
    """A value that cannot be read is refused."""
    with pytest.raises(InvalidEvent):
        cloudevents.event({**HEADERS, f"cloudEvents:{name}": value}, b"{}")

"""A busy receiver says when to come back, and is left alone until then, within a bound (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from protos.shop.webhooks.v1 import webhooks_pb2 as pb
from tests.waiting import eventually
from tests.webhooks.outbound import Api, Partner, outbound, partner
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint, RetryPolicy, after_attempt, retry_after

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(delays=(5, 300), disable_after=timedelta(days=5), max_pause=3_600)


def endpoint() -> Endpoint:
    return Endpoint(
        "we_1", "123", sees_all=False, url="", event_types=["order.*"], description="", secret="", created_at=NOW
    )


def delivery() -> Delivery:
    return Delivery("msg_1", "we_1", "e1", "order.paid", "77", b"{}", "", NOW, next_attempt_at=NOW)


@pytest.fixture
async def theirs() -> AsyncIterator[Partner]:
    async with partner() as receiver:
        yield receiver


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("9" * 400, 999_999_999.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
        ("Sun, 99 Mar 2026 12:01:30 GMT", None),
        (f"Sun, 01 Mar {'9' * 20} 12:01:30 GMT", None),
        (f"Sun, 01 Mar 2026 {'9' * 20}:01:30 GMT", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    """Both forms of the header mean seconds from now, never fewer than none; anything else means nothing."""
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("status", "asked", "waits", "pauses"),
    [
        pytest.param(429, 60.0, 60, True, id="too many requests"),
        pytest.param(503, 60.0, 60, True, id="unavailable"),
        pytest.param(503, 1.0, 5, True, id="sooner than the schedule"),
        pytest.param(429, 86_400.0, 3_600, True, id="longer than the bound"),
        pytest.param(429, None, 5, False, id="without a wish"),
        pytest.param(429, 0.0, 5, False, id="no time"),
        pytest.param(500, 60.0, 5, False, id="an answer that has no say"),
    ],
)
def test_a_retry_after_is_kept_within_a_bound(status: int, asked: float | None, waits: int, pauses: bool) -> None:
    """After 429 and 503 the next attempt comes as late as the header says, at most the bound, not before schedule."""
    attempt = Attempt(1, NOW, 10, status, retry_after=asked)
    after, again = after_attempt(endpoint(), delivery(), attempt, POLICY)
    assert again.next_attempt_at == NOW + timedelta(seconds=waits)
    assert (after.paused_until is not None) == pauses
    assert after.is_served(NOW) != pauses


async def test_everything_that_waits_is_held_back(tmp_path: Path, theirs: Partner, backends: Mapping[str, str]) -> None:
    """While an endpoint pauses, none of its deliveries is tried, other endpoints get theirs, and then all is sent."""
    theirs.statuses["/busy"] = [429]
    theirs.retry_after["/busy"] = "10"  # longer than the dispatcher sleeps
    async with outbound(tmp_path, **backends) as ours:
        api = await ours.customer()
        busy = (await api.register(f"{theirs.url}/busy")).endpoint.id
        await api.register(f"{theirs.url}/other")
        await ours.happens(order_id="1")
        (refused,) = await eventually(lambda: _tried(api, busy))
        await ours.happens(order_id="2")
        await eventually(lambda: len(theirs.of("/other")) == 2)
        assert len(theirs.of("/busy")) == 1
        await eventually(lambda: len(theirs.of("/busy")) == 3, within=60)

        async def delivered() -> bool:
            return [one.status for one in await api.deliveries(busy)] == ["delivered"] * 2

        await eventually(delivered)
        later = [attempt.at for attempt in await _tried(api, busy) if attempt.status_code == 200]
        assert len(later) == 2
        assert all(at.ToDatetime() >= refused.at.ToDatetime() + timedelta(seconds=10) for at in later)


async def _tried(api: Api, endpoint_id: str) -> list[pb.Attempt]:
    return [attempt for one in await api.deliveries(endpoint_id) for attempt in one.attempts]


async def test_sending_again_by_hand_ends_a_pause(tmp_path: Path, theirs: Partner) -> None:
    """A request to send a delivery again now means that the endpoint is back."""
    theirs.statuses["/busy"] = [503]
    theirs.retry_after["/busy"] = "1800"
    async with outbound(tmp_path) as ours:
        api = await ours.customer()
        busy = (await api.register(f"{theirs.url}/busy")).endpoint.id
        await ours.happens()
        await eventually(lambda: _tried(api, busy))
        (waiting,) = await api.deliveries(busy)
        assert waiting.next_attempt_at.ToDatetime(UTC) > datetime.now(UTC) + timedelta(minutes=25)
        await api.client.call(api.endpoints.Redeliver, pb.RedeliverRequest(endpoint_id=busy, delivery_id=waiting.id))
        await eventually(lambda: api.the_delivery(busy, "delivered"))

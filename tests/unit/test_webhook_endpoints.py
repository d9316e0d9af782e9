"""Outgoing webhooks: what becomes of an endpoint and a delivery after an attempt, and what may be registered."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from chassis.errors import Kind, ShopError
from webhooks.outgoing import domain
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint, OldSecret, RetryPolicy, Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "whsec_" + base64.b64encode(b"new").decode()
OLD = "whsec_" + base64.b64encode(b"old").decode()
ENDPOINT = Endpoint("e1", "u1", False, "https://shop.test/hook", ["order.paid"], "", SECRET, NOW)
DELIVERY = Delivery("d1", "e1", "ev1", "order.paid", "o1", b'{"a":1}', "00-tp", NOW, next_attempt_at=NOW)
POLICY = RetryPolicy([1.0, 10.0], timedelta(days=1), 60.0)


def failed(code: int = 500, **changes: object) -> Attempt:
    return replace(Attempt(1, NOW, 5, code), **changes)  # type: ignore[arg-type]


def test_an_endpoint_wants_its_types_or_every_one() -> None:
    """`order.*` stands for all."""
    assert [ENDPOINT.subscribes_to(each) for each in ("order.paid", "order.placed")] == [True, False]
    every = replace(ENDPOINT, event_types=["order.*"])
    assert every.subscribes_to("order.placed")


def test_an_endpoint_is_served_unless_it_is_disabled_or_pauses() -> None:
    """From the moment on at which its pause is over."""
    assert ENDPOINT.is_served(NOW)
    assert not replace(ENDPOINT, enabled=False).is_served(NOW)
    assert replace(ENDPOINT, paused_until=NOW).is_served(NOW)
    assert not replace(ENDPOINT, paused_until=NOW + timedelta(microseconds=1)).is_served(NOW)


def test_old_secrets_sign_until_their_time_is_up() -> None:
    """The newest first."""
    endpoint = replace(ENDPOINT, old_secrets=[OldSecret(OLD, NOW + timedelta(seconds=1)), OldSecret("whsec_", NOW)])
    assert endpoint.secrets(NOW) == [SECRET, OLD]


@pytest.mark.parametrize(("code", "succeeded"), [(0, False), (199, False), (200, True), (299, True), (300, False)])
def test_only_2xx_is_a_success(code: int, *, succeeded: bool) -> None:
    """A redirect leads where nothing has been checked."""
    assert failed(code).succeeded is succeeded


@pytest.mark.parametrize(("code", "pause"), [(429, 7.0), (503, 7.0), (500, 0.0), (200, 0.0)])
def test_only_some_answers_may_ask_for_a_pause(code: int, pause: float) -> None:
    """429 and 503, and only where they say for how long."""
    assert failed(code, retry_after=7.0).requested_pause == pause
    assert failed(code).requested_pause == 0.0


def test_a_success_ends_a_delivery_and_what_its_endpoint_had_failed() -> None:
    """The pause that it had stays."""
    failing = replace(ENDPOINT, failing_since=NOW, paused_until=NOW)
    endpoint, delivery = domain.after_attempt(failing, DELIVERY, replace(failed(204), number=3), POLICY)
    assert endpoint == replace(failing, failing_since=None)
    assert delivery == replace(DELIVERY, status=Status.DELIVERED, attempts=3, retries=1, next_attempt_at=None)


def test_a_failure_is_retried_after_the_next_delay_stretched() -> None:
    """And the endpoint fails since then, or since earlier."""
    endpoint, delivery = domain.after_attempt(ENDPOINT, DELIVERY, failed(), POLICY, stretch=1.5)
    assert endpoint == replace(ENDPOINT, failing_since=NOW)
    after = NOW + timedelta(seconds=1.5)
    assert delivery == replace(DELIVERY, attempts=1, retries=1, next_attempt_at=after)
    earlier = replace(ENDPOINT, failing_since=NOW - timedelta(hours=1))
    endpoint, delivery = domain.after_attempt(earlier, replace(DELIVERY, retries=1), failed(), POLICY)
    assert (endpoint, delivery.next_attempt_at) == (earlier, NOW + timedelta(seconds=10))


def test_the_last_failure_ends_a_delivery() -> None:
    """When the delays are used up."""
    _, delivery = domain.after_attempt(ENDPOINT, replace(DELIVERY, retries=2), failed(), POLICY)
    assert delivery == replace(DELIVERY, status=Status.FAILED, attempts=1, retries=3, next_attempt_at=None)


@pytest.mark.parametrize(("asked", "pause"), [(30.0, 30.0), (600.0, 60.0)])
def test_a_busy_endpoint_is_left_alone_for_as_long_as_it_asks(asked: float, pause: float) -> None:
    """Up to a bound; the retry comes when the pause is over, where that is later than its own."""
    endpoint, delivery = domain.after_attempt(ENDPOINT, DELIVERY, failed(503, retry_after=asked), POLICY)
    until = NOW + timedelta(seconds=pause)
    assert (endpoint.paused_until, delivery.next_attempt_at) == (until, until)
    short = failed(503, retry_after=0.5)
    assert domain.after_attempt(ENDPOINT, DELIVERY, short, POLICY)[1].next_attempt_at == NOW + timedelta(seconds=1)


def test_an_endpoint_that_is_gone_is_disabled_at_once() -> None:
    """With the reason; one that had been disabled keeps its own."""
    endpoint, _ = domain.after_attempt(ENDPOINT, DELIVERY, failed(410), POLICY)
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, "it answered 410 Gone")
    before = replace(ENDPOINT, enabled=False, disabled_reason="by its owner")
    assert domain.after_attempt(before, DELIVERY, failed(410), POLICY)[0].disabled_reason == "by its owner"


def test_an_endpoint_that_does_nothing_but_fail_is_disabled() -> None:
    """After a day, not at its end."""
    since = NOW - timedelta(days=1)
    endpoint, _ = domain.after_attempt(replace(ENDPOINT, failing_since=since), DELIVERY, failed(), POLICY)
    assert endpoint.enabled
    since -= timedelta(microseconds=1)
    endpoint, _ = domain.after_attempt(replace(ENDPOINT, failing_since=since), DELIVERY, failed(), POLICY)
    reason = "nothing but failures since 2026-02-28 11:59 UTC"
    assert (endpoint.enabled, endpoint.disabled_reason) == (False, reason)


def test_a_delivery_that_is_asked_for_again_begins_anew() -> None:
    """Now, with all its retries; what was attempted is counted on."""
    ended = replace(DELIVERY, status=Status.FAILED, attempts=3, retries=3, next_attempt_at=None)
    later = NOW + timedelta(hours=1)
    again = replace(ended, status=Status.PENDING, retries=0, next_attempt_at=later)
    assert domain.retried(ended, later) == again


def test_a_body_has_type_time_and_data() -> None:
    """Compact, in UTF-8, the time in UTC with a Z."""
    body = domain.payload("order.paid", NOW, '{"name": "Tee ☕"}'.encode())
    assert body == '{"type":"order.paid","timestamp":"2026-03-01T12:00:00Z","data":{"name":"Tee ☕"}}'.encode()


def test_an_attempt_is_signed_with_every_valid_secret() -> None:
    """As Standard Webhooks says: id, time and body, HMAC-SHA256 in Base64, by each secret."""
    endpoint = replace(ENDPOINT, old_secrets=[OldSecret(OLD, NOW + timedelta(days=1))])
    stamp = str(int(NOW.timestamp()))
    signed = f"d1.{stamp}.".encode() + DELIVERY.body
    signatures = [base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in (b"new", b"old")]
    assert domain.signed_headers(DELIVERY, endpoint, NOW + timedelta(microseconds=999_999)) == {
        "content-type": "application/json",
        "user-agent": "PolyglotShop-Webhooks/1",
        "webhook-id": "d1",
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{signatures[0]} v1,{signatures[1]}",
    }


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("9" * 12, 999_999_999.0),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60.0),
        ("Sun, 01 Mar 2026 12:01:00 -0000", 60.0),
        ("Sun, 01 Mar 2026 13:01:00 +0100", 60.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", 0.0),
        ("²", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    """RFC 9110, section 10.2.3; a date that is over is now, and what is neither says nothing."""
    assert domain.retry_after(header, NOW) == seconds


def test_a_new_secret_has_32_bytes_of_its_own() -> None:
    """In the form of Standard Webhooks."""
    first, second = domain.new_secret(), domain.new_secret()
    assert first != second
    assert first.startswith("whsec_")
    assert len(base64.b64decode(first.removeprefix("whsec_"), validate=True)) == 32


def test_a_replaced_secret_signs_for_a_while() -> None:
    """Beside those that still do; those that do not are forgotten."""
    kept, over = OldSecret(OLD, NOW + timedelta(seconds=1)), OldSecret("whsec_", NOW)
    after = domain.rotated(replace(ENDPOINT, old_secrets=[kept, over]), NOW, timedelta(hours=1))
    assert after.old_secrets == [OldSecret(SECRET, NOW + timedelta(hours=1)), kept]
    assert after.secret.startswith("whsec_")
    assert after.secret not in (SECRET, OLD)
    assert replace(after, secret=SECRET, old_secrets=()) == ENDPOINT


def test_only_so_many_replaced_secrets_sign_at_a_time() -> None:
    """Four."""
    old = [OldSecret(OLD, NOW + timedelta(seconds=1))] * 3
    four = domain.rotated(replace(ENDPOINT, old_secrets=old), NOW, timedelta(hours=1))
    assert len(four.old_secrets) == 4
    with pytest.raises(ShopError) as refusal:
        domain.rotated(four, NOW, timedelta(hours=1))
    assert (refusal.value.code, refusal.value.kind) == ("TOO_MANY_SECRETS", Kind.PRECONDITION)
    assert refusal.value.message == "endpoint must have at most 4 replaced secrets: wait until one expires"


def test_event_types_are_taken_once_each() -> None:
    """None means every one."""
    assert domain.check_event_types([]) == ["order.*"]
    assert domain.check_event_types(["order.paid", "order.placed", "order.paid"]) == ["order.paid", "order.placed"]


def test_unknown_event_types_are_named() -> None:
    """Ten of them at most."""
    with pytest.raises(ShopError) as refusal:
        domain.check_event_types(["order.paid", *["stock.changed"] * 11])
    assert (refusal.value.code, refusal.value.message) == ("INVALID_INPUT", "unknown event types")
    why = "must be order.* or the type of an order's event"
    assert refusal.value.fields == {f"event_types[{index}]": why for index in range(1, 11)}


def test_descriptions_are_bounded() -> None:
    """200 characters, without a NUL, which PostgreSQL cannot store."""
    domain.check_description("")
    domain.check_description("x" * 200)
    for wrong, message, change in (
        ("x" * 201, "description is too long", "must have at most 200 characters"),
        ("a\0b", "invalid description", "must not have a NUL character"),
    ):
        with pytest.raises(ShopError) as refusal:
            domain.check_description(wrong)
        assert (refusal.value.code, refusal.value.message) == ("INVALID_INPUT", message)
        assert refusal.value.fields == {"description": change}


@pytest.mark.parametrize(
    ("url", "plain", "target"),
    [
        ("https://shop.test/hook?a=1", False, ("shop.test", 443)),
        ("https://shop.test:8443/X", False, ("shop.test", 8443)),
        ("http://shop.test", True, ("shop.test", 80)),
        ("https://shop.test", True, ("shop.test", 443)),
        ("https://shop.test:0/", False, ("shop.test", 0)),
        (f"https://shop.test/{'a' * 1_982}", False, ("shop.test", 443)),
    ],
)
def test_urls_lead_to_a_host_and_a_port(url: str, target: tuple[str, int], *, plain: bool) -> None:
    """The scheme's port where none is named; as long as 2,000 characters."""
    assert domain.target_of(url, allow_plain=plain) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://shop.test",
        "ftp://shop.test",
        "https://",
        "https://u@shop.test",
        "https://@shop.test",
        "https://shop.test/#a",
        "https://shop.test:x",
        "https://shop.test/a b",
        "https://shop.test/\x7f",
        "https://shop.test\\@evil.test",
        "https://söp.test",
        f"https://shop.test/{'a' * 1_983}",
    ],
)
def test_urls_that_are_not_called(url: str) -> None:
    """The refusal says what is taken, with plain HTTP or without."""
    with pytest.raises(ShopError) as refusal:
        domain.target_of(url, allow_plain=False)
    assert refusal.value.message == "the endpoint cannot be registered"
    assert refusal.value.fields == {"url": "must be an https URL without credentials or fragment"}


def test_where_plain_http_is_taken_the_refusal_says_so() -> None:
    """As in development."""
    with pytest.raises(ShopError) as refusal:
        domain.target_of("ftp://shop.test", allow_plain=True)
    assert refusal.value.fields == {"url": "must be an http or https URL without credentials or fragment"}


@pytest.mark.parametrize(
    ("make", "code", "kind", "message"),
    [
        (domain.too_many, "TOO_MANY_ENDPOINTS", Kind.PRECONDITION, "owner must have at most 20 endpoints"),
        (
            lambda: domain.rotated_meanwhile(ENDPOINT),
            "ROTATED_MEANWHILE",
            Kind.CONFLICT,
            "the secret of endpoint e1 was replaced at the same time",
        ),
        (lambda: domain.is_disabled(ENDPOINT), "ENDPOINT_DISABLED", Kind.PRECONDITION, "endpoint e1 is disabled"),
    ],
)
def test_refusals_have_codes(make: Callable[[], ShopError], code: str, kind: Kind, message: str) -> None:
    """And words for people."""
    error = make()
    assert (error.code, error.kind, error.message) == (code, kind, message)

"""Endpoints, deliveries, and what becomes of both after an attempt. Pure decisions.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from urllib.parse import urlsplit

from chassis.errors import Kind, ShopError, invalid

EVERY_EVENT = "order.*"
MAX_ENDPOINTS = 20
MAX_URL = 2_000
MAX_DESCRIPTION = 200
# Each is one more signature in a header, until its time is up.
MAX_OLD_SECRETS = 4
_GONE = 410
# The answers that may have a time to retry at (RFC 9110, section 10.2.3; RFC 6585, section 4).
_LATER = (429, 503)
_EVENT_TYPE = re.compile(r"order\.(\*|placed|delayed|confirmed|rejected|paid|shipped|delivered|cancelled|refund_due)")
_SECRET_BYTES = 32
_RETRY_AFTER_DIGITS = 9


@dataclass(frozen=True, slots=True)
class OldSecret:
    """A secret that was replaced, and signs beside its successor `until` then."""

    secret: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`sees_all`: registered by an admin, it gets events of all orders. `old_secrets` are newest first.

    `failing_since`: the first failed attempt since its last success. `paused_until`: until its `Retry-After` is over.
    """

    id: str
    owner_id: str
    sees_all: bool
    url: str
    event_types: Sequence[str]
    description: str
    secret: str
    created_at: datetime
    enabled: bool = True
    disabled_reason: str = ""
    failing_since: datetime | None = None
    paused_until: datetime | None = None
    old_secrets: Sequence[OldSecret] = ()

    def subscribes_to(self, event_type: str) -> bool:
        return EVERY_EVENT in self.event_types or event_type in self.event_types

    def is_served(self, now: datetime) -> bool:
        """Whether anything is sent there at this time."""
        return self.enabled and (self.paused_until is None or self.paused_until <= now)

    def secrets(self, now: datetime) -> list[str]:
        """The valid signing secrets at a time, the newest first."""
        return [self.secret, *(old.secret for old in self.old_secrets if now < old.until)]


class Status(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request. `status_code` is 0 when there was no answer, and then `error` is the reason.

    `retry_after`: the seconds in the answer's `Retry-After`, if it has one.
    """

    number: int
    at: datetime
    duration_ms: int
    status_code: int = 0
    error: str = ""
    response: str = ""
    retry_after: float | None = None

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status_code < 300  # a redirect is a failure: it leads to an unchecked address

    @property
    def requested_pause(self) -> float:
        """The seconds in the `Retry-After` of a 429 or 503, else 0."""
        return (self.retry_after or 0.0) if self.status_code in _LATER else 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one endpoint. `id` is its `webhook-id`, the same for every attempt, and so is `body`.

    `attempts` counts all of them, `retries` those since it was last requested; `next_attempt_at` is None at the end.
    """

    id: str
    endpoint_id: str
    event_id: str
    event_type: str
    subject: str
    body: bytes
    traceparent: str
    created_at: datetime
    status: Status = Status.PENDING
    attempts: int = 0
    retries: int = 0
    next_attempt_at: datetime | None = None
    made: Sequence[Attempt] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retry policy of deliveries. `delays`: seconds before each retry.

    `disable_after`: how long an endpoint may only fail. `max_pause`: limit of its `Retry-After`, in seconds.
    """

    delays: Sequence[float]
    disable_after: timedelta
    max_pause: float


def after_attempt(
    endpoint: Endpoint, delivery: Delivery, attempt: Attempt, policy: RetryPolicy, *, stretch: float = 1.0
) -> tuple[Endpoint, Delivery]:
    """Both as the attempt leaves them. `stretch` multiplies the delay, so that not everything is retried at once.

    A busy endpoint's `Retry-After` is a pause for everything that waits for it; no retry comes before it is over.
    """
    delivery = replace(delivery, attempts=attempt.number, retries=delivery.retries + 1, next_attempt_at=None)
    if attempt.succeeded:
        return replace(endpoint, failing_since=None), replace(delivery, status=Status.DELIVERED)
    failing_since = endpoint.failing_since or attempt.at
    pause = timedelta(seconds=min(attempt.requested_pause, policy.max_pause))
    endpoint = replace(endpoint, failing_since=failing_since, paused_until=attempt.at + pause if pause else None)
    if attempt.status_code == _GONE:
        endpoint = _disabled(endpoint, "it answered 410 Gone")
    elif attempt.at - failing_since > policy.disable_after:
        endpoint = _disabled(endpoint, f"nothing but failures since {failing_since:%Y-%m-%d %H:%M} UTC")
    if delivery.retries > len(policy.delays):
        return endpoint, replace(delivery, status=Status.FAILED)
    delay = timedelta(seconds=policy.delays[delivery.retries - 1] * stretch)
    return endpoint, replace(delivery, next_attempt_at=attempt.at + max(delay, pause))


def retried(delivery: Delivery, now: datetime) -> Delivery:
    """A delivery that is to be sent now, and retried by the schedule from its beginning."""
    return replace(delivery, status=Status.PENDING, retries=0, next_attempt_at=now)


def _disabled(endpoint: Endpoint, reason: str) -> Endpoint:
    return replace(endpoint, enabled=False, disabled_reason=reason) if endpoint.enabled else endpoint


def payload(event_type: str, happened_at: datetime, data: bytes) -> bytes:
    """The body of a delivery: `type`, `timestamp`, `data`."""
    stamp = happened_at.isoformat().replace("+00:00", "Z")
    envelope = {"type": event_type, "timestamp": stamp, "data": json.loads(data)}
    return json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()


def signed_headers(delivery: Delivery, endpoint: Endpoint, now: datetime) -> Mapping[str, str]:
    """The headers of one attempt, signed now with each of the endpoint's secrets."""
    stamp = str(int(now.timestamp()))
    signed = f"{delivery.id}.{stamp}.".encode() + delivery.body
    return {
        "content-type": "application/json",
        "user-agent": "PolyglotShop-Webhooks/1",
        "webhook-id": delivery.id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in endpoint.secrets(now)),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


def retry_after(header: str, now: datetime) -> float | None:
    """Seconds until the time in a `Retry-After` (seconds or a date); None if it is neither."""
    if header.isascii() and header.isdigit():
        return float(header[:_RETRY_AFTER_DIGITS])
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):  # a year, or an hour, of twenty digits
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def rotated(endpoint: Endpoint, now: datetime, grace: timedelta) -> Endpoint:
    """Give the endpoint a new secret; the old one signs too for a while. Raises TOO_MANY_SECRETS."""
    still_signing = [old for old in endpoint.old_secrets if now < old.until]
    if len(still_signing) >= MAX_OLD_SECRETS:
        message = f"endpoint must have at most {MAX_OLD_SECRETS} replaced secrets: wait until one expires"
        raise ShopError("TOO_MANY_SECRETS", message, Kind.PRECONDITION)
    replaced = OldSecret(endpoint.secret, now + grace)
    return replace(endpoint, secret=new_secret(), old_secrets=[replaced, *still_signing])


def check_event_types(event_types: Sequence[str]) -> list[str]:
    """The types, each once; `order.*` for none. Raises INVALID_INPUT."""
    wrong = {
        f"event_types[{index}]": "must be order.* or the type of an order's event"
        for index, event_type in enumerate(event_types)
        if not _EVENT_TYPE.fullmatch(event_type)
    }
    if wrong:
        raise invalid("unknown event types", **dict(list(wrong.items())[:10]))
    return list(dict.fromkeys(event_types)) or [EVERY_EVENT]


def check_description(description: str) -> None:
    """Raise INVALID_INPUT for a description that is too long, or has a NUL, which PostgreSQL cannot store."""
    if "\0" in description:
        raise invalid("invalid description", description="must not have a NUL character")
    if len(description) > MAX_DESCRIPTION:
        raise invalid("description is too long", description=f"must have at most {MAX_DESCRIPTION} characters")


def target_of(url: str, *, allow_plain: bool) -> tuple[str, int]:
    """The host and port that a URL leads to. Raises INVALID_INPUT for one that we would not call."""
    wrong = f"must be an {'http or ' if allow_plain else ''}https URL without credentials or fragment"
    problem = invalid("the endpoint cannot be registered", url=wrong)
    if len(url) > MAX_URL or not url.isascii() or any(character <= " " or character in "\\\x7f" for character in url):
        raise problem
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise problem from error
    schemes = {"https": 443, "http": 80} if allow_plain else {"https": 443}
    if parts.scheme not in schemes or not parts.hostname or parts.username is not None or parts.fragment:
        raise problem
    return parts.hostname, schemes[parts.scheme] if port is None else port


def too_many() -> ShopError:
    return ShopError("TOO_MANY_ENDPOINTS", f"owner must have at most {MAX_ENDPOINTS} endpoints", Kind.PRECONDITION)


def rotated_meanwhile(endpoint: Endpoint) -> ShopError:
    message = f"the secret of endpoint {endpoint.id} was replaced at the same time"
    return ShopError("ROTATED_MEANWHILE", message, Kind.CONFLICT)


def is_disabled(endpoint: Endpoint) -> ShopError:
    return ShopError("ENDPOINT_DISABLED", f"endpoint {endpoint.id} is disabled", Kind.PRECONDITION)

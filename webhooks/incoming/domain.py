"""Webhooks, and each provider's event names. No framework, no database, no wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from chassis import json_text
from chassis.errors import Kind, ShopError
from chassis.pagination import Place
from webhooks import signatures

MAX_BODY = 1 << 20
MAX_NAME = 255
# GitHub's default encoding, application/x-www-form-urlencoded: the JSON is the value of the field `payload`.
_FORM = b"payload="

Headers = Mapping[str, str]
Payload = dict[str, Any]


class Status(StrEnum):
    RECEIVED = "received"
    PROCESSED = "processed"
    FAILED = "failed"


class Outcome(StrEnum):
    """The outcome of processing."""

    APPLIED = "applied"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event of a provider, unchanged. `headers` have lower-case names; `traceparent` is that of its request."""

    id: str
    provider: str
    provider_event_id: str
    event_type: str
    body: bytes
    headers: Headers
    received_at: datetime
    traceparent: str = ""
    status: Status = Status.RECEIVED
    attempts: int = 0
    error: str = ""
    outcome: Outcome | None = None
    replays: int = 0

    @property
    def announcement_id(self) -> str:
        """The id of the `webhook.received` that is, or was last, to be published: a replay is an event of its own."""
        return f"{self.id}.{self.replays}" if self.replays else self.id


@dataclass(frozen=True, slots=True)
class Selection:
    """Filter of webhooks: by provider (all when empty), received from `since` until before `until`, failed ones."""

    provider: str = ""
    since: datetime | None = None
    until: datetime | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Webhooks, and where the next page begins; None after the last."""

    webhooks: Sequence[Webhook]
    next: Place | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """One line of the audit: who had a webhook replayed, when and why."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class EventName:
    """The provider's own id of an event, by which a repeat is recognized, and the event's type."""

    id: str
    type: str


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's signature scheme, form of its secrets, and names of its events."""

    verify: signatures.Scheme
    key: Callable[[str], bytes]
    name_event: Callable[[Payload, Headers], tuple[object, object]]


PROVIDERS: Mapping[str, Provider] = {
    "stripe": Provider(
        signatures.stripe,
        signatures.plain_key,
        lambda payload, _: (payload.get("id"), payload.get("type")),
    ),
    "github": Provider(
        signatures.github,
        signatures.plain_key,
        lambda _, headers: (headers.get("x-github-delivery"), headers.get("x-github-event")),
    ),
    "shopify": Provider(
        signatures.shopify,
        signatures.plain_key,
        lambda _, headers: (headers.get("x-shopify-webhook-id"), headers.get("x-shopify-topic")),
    ),
    "standard": Provider(
        signatures.standard,
        signatures.standard_key,
        lambda payload, headers: (headers.get("webhook-id"), payload.get("type")),
    ),
}


def parse(body: bytes) -> Payload:
    """The body's JSON object. Raises MALFORMED_WEBHOOK."""
    try:
        payload = json_text.parsed(body)
    except (ValueError, RecursionError) as error:
        if body.startswith(_FORM):
            raise malformed(
                "the body is a form: set the webhook's content type to application/json at the provider"
            ) from error
        raise malformed("the body is not JSON") from error
    if not isinstance(payload, dict):
        raise malformed("the body is not a JSON object")
    return payload


def name_event(provider: Provider, payload: Payload, headers: Headers) -> EventName:
    """The event's id and type. Raises MALFORMED_WEBHOOK when one is missing or nothing to keep."""
    event_id, event_type = provider.name_event(payload, headers)
    return EventName(_name(event_id, "id"), _name(event_type, "type"))


def malformed(why: str) -> ShopError:
    return ShopError("MALFORMED_WEBHOOK", why, Kind.INVALID)


def unusable(why: str) -> ShopError:
    """An authentic event that we can never act upon, however often it is tried."""
    return ShopError("UNUSABLE_WEBHOOK", why, Kind.INVALID)


def _name(value: object, what: str) -> str:
    # Printable excludes NUL, which PostgreSQL cannot store, and lone surrogates, which nothing can encode.
    if not (isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()):
        raise malformed(f"the event has no usable {what}")
    return value

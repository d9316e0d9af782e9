"""The ports of outgoing webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from chassis.broker.port import Event
from chassis.pagination import Place
from webhooks.outgoing.domain import Attempt, Delivery, Endpoint

QUEUE = "webhook-delivery"

# What an attempt makes of an endpoint and a delivery.
Decision = Callable[[Endpoint, Delivery, Attempt], tuple[Endpoint, Delivery]]


class EndpointStore(Protocol):
    async def add(self, endpoint: Endpoint, *, most: int) -> bool:
        """False when its owner has `most` endpoints already."""

    async def get(self, endpoint_id: str) -> Endpoint | None: ...

    async def page(self, owner_id: str | None, *, after: Place | None, size: int) -> list[Endpoint]:
        """An owner's (all owners' for None), newest first."""

    async def update(self, endpoint_id: str, changes: Mapping[str, Any]) -> None:
        """Give these fields of an endpoint other values, and leave the others as they are by then."""

    async def replace_secret(self, endpoint: Endpoint, replaced: str) -> bool:
        """Keep its new secret and the old ones; False when it no longer has the secret that was to be replaced."""

    async def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint with its deliveries and their attempts."""


class DeliveryStore(Protocol):
    async def fan_out(self, event: Event, owner_id: str, body: bytes) -> int:
        """A due delivery for each enabled endpoint that the event concerns, once per event; how many."""

    async def page(self, endpoint_id: str, *, after: Place | None, size: int) -> list[Delivery]:
        """Newest first, each with its attempts."""

    async def get(self, endpoint_id: str, delivery_id: str) -> Delivery | None:
        """Return a delivery with its attempts; None if there is none."""

    async def redeliver(self, delivery: Delivery) -> bool:
        """Keep when it is due, and end its endpoint's pause; False when it has been forgotten meanwhile.

        An attempt that is on its way then changes nothing of that when it is recorded.
        """

    async def endpoints_due(self, now: datetime) -> list[str]:
        """The enabled endpoints for which something is due, without those that are paused."""

    async def shorten_waits(self, now: datetime, waits: Sequence[timedelta], pause: timedelta) -> None:
        """Let no delivery with n retries wait for longer than `waits[n]`, and no endpoint pause for longer than this.

        Those that would were written before the clock was set back.
        """

    async def next_due(self, now: datetime) -> datetime | None:
        """Time at which the first delivery is, or was, due, to an endpoint that is enabled and does not pause."""

    async def due(self, endpoint_id: str, now: datetime, limit: int) -> tuple[Endpoint | None, list[Delivery]]:
        """Due deliveries of an endpoint, the longest overdue first; none while it is disabled or pauses."""

    async def record(self, sent: Delivery, attempt: Attempt, decide: Decision) -> None:
        """Keep an attempt at what was sent, and what it makes of delivery and endpoint as they are by then, together.

        Nothing if one of them is gone.
        """

    async def delete_expired(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` deliveries that ended before this time, with their attempts; return their number."""

    async def delete_events(self, before: datetime, limit: int) -> int:
        """Forget that up to so many events were handled before this time; how many."""


class Sender(Protocol):
    async def send(self, endpoint: Endpoint, delivery: Delivery) -> Attempt:
        """Make one attempt, however it ends."""


class Lookup(Protocol):
    async def __call__(self, host: str, port: int) -> None:
        """Raises INVALID_INPUT for a target that we do not call."""

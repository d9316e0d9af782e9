"""The use cases of an owner of endpoints and deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chassis import wall_clock
from chassis.auth.identity import Principal
from chassis.errors import not_found
from chassis.pagination import Place
from webhooks.outgoing import domain
from webhooks.outgoing.domain import Delivery, Endpoint
from webhooks.outgoing.ports import DeliveryStore, EndpointStore, Lookup


class Endpoints:
    def __init__(
        self,
        endpoints: EndpointStore,
        deliveries: DeliveryStore,
        check_target: Lookup,
        wake: Callable[[], None],
        *,
        allow_plain: bool,
        grace: timedelta,
    ) -> None:
        """`wake` is called when something may be due; `allow_plain`: whether an endpoint may do without TLS.

        `grace`: how long a secret that was replaced still signs.
        """
        self._endpoints = endpoints
        self._deliveries = deliveries
        self._check_target = check_target
        self._wake = wake
        self._allow_plain = allow_plain
        self._grace = grace

    async def create(self, url: str, event_types: Sequence[str], description: str, caller: Principal) -> Endpoint:
        """Raises INVALID_INPUT or TOO_MANY_ENDPOINTS."""
        domain.check_description(description)
        types = domain.check_event_types(event_types)
        await self._check(url)
        endpoint = Endpoint(
            id=f"we_{uuid.uuid4().hex}",
            owner_id=caller.subject,
            sees_all=caller.is_admin,
            url=url,
            event_types=types,
            description=description,
            secret=domain.new_secret(),
            created_at=wall_clock.now(),
        )
        if not await self._endpoints.add(endpoint, most=domain.MAX_ENDPOINTS):
            raise domain.too_many()
        return endpoint

    async def page(self, caller: Principal, *, after: Place | None, size: int) -> tuple[list[Endpoint], Place | None]:
        owner = None if caller.is_admin else caller.subject
        found = await self._endpoints.page(owner, after=after, size=size + 1)
        last = found[size - 1] if len(found) > size else None
        return found[:size], (last.created_at, last.id) if last else None

    async def get(self, endpoint_id: str, caller: Principal) -> Endpoint:
        """Raises NOT_FOUND, also for another owner's."""
        endpoint = await self._endpoints.get(endpoint_id)
        if endpoint is None or not (caller.is_admin or endpoint.owner_id == caller.subject):
            raise not_found("webhook endpoint", endpoint_id)
        return endpoint

    async def update(
        self,
        endpoint_id: str,
        caller: Principal,
        *,
        url: str | None,
        event_types: Sequence[str],
        description: str | None,
        enabled: bool | None,
    ) -> Endpoint:
        """Change what is given. Raises NOT_FOUND or INVALID_INPUT."""
        endpoint = await self.get(endpoint_id, caller)
        changes: dict[str, Any] = {}
        if url is not None:
            await self._check(url)
            changes["url"] = url
        if event_types:
            changes["event_types"] = domain.check_event_types(event_types)
        if description is not None:
            domain.check_description(description)
            changes["description"] = description
        if enabled is not None:
            # It gets as long as a new one to prove itself.
            changes |= {"enabled": enabled, "disabled_reason": "", "failing_since": None, "paused_until": None}
        if changes:
            await self._endpoints.update(endpoint_id, changes)
            self._wake()
        return replace(endpoint, **changes)

    async def rotate_secret(self, endpoint_id: str, caller: Principal) -> Endpoint:
        """Give an endpoint a new secret; the one that it had signs beside it for the time of grace.

        Raises NOT_FOUND, TOO_MANY_SECRETS, or ROTATED_MEANWHILE: of two callers at once, one gets a secret.
        """
        endpoint = await self.get(endpoint_id, caller)
        anew = domain.rotated(endpoint, wall_clock.now(), self._grace)
        if not await self._endpoints.replace_secret(anew, endpoint.secret):
            raise domain.rotated_meanwhile(endpoint)
        return anew

    async def delete(self, endpoint_id: str, caller: Principal) -> None:
        """Raises NOT_FOUND."""
        await self.get(endpoint_id, caller)
        await self._endpoints.delete(endpoint_id)

    async def deliveries(
        self, endpoint_id: str, caller: Principal, *, after: Place | None, size: int
    ) -> tuple[list[Delivery], Place | None]:
        """Raises NOT_FOUND."""
        await self.get(endpoint_id, caller)
        found = await self._deliveries.page(endpoint_id, after=after, size=size + 1)
        last = found[size - 1] if len(found) > size else None
        return found[:size], (last.created_at, last.id) if last else None

    async def redeliver(self, endpoint_id: str, delivery_id: str, caller: Principal) -> Delivery:
        """Have a delivery sent again, now. Raises NOT_FOUND, or ENDPOINT_DISABLED while that would not happen."""
        endpoint = await self.get(endpoint_id, caller)
        delivery = await self._deliveries.get(endpoint_id, delivery_id)
        if delivery is None:
            raise not_found("delivery", delivery_id)
        if not endpoint.enabled:
            raise domain.is_disabled(endpoint)
        again = domain.retried(delivery, wall_clock.now())
        if not await self._deliveries.redeliver(again):
            raise not_found("delivery", delivery_id)
        self._wake()
        return again

    async def _check(self, url: str) -> None:
        await self._check_target(*domain.target_of(url, allow_plain=self._allow_plain))

"""Rate limits per address, per user and per sign-in.

Fixed windows, shown in the `RateLimit-Policy` and `RateLimit` fields of draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from limits import RateLimitItem

from chassis.auth.identity import current_principal
from chassis.errors import Kind, ShopError
from chassis.http.connections import client_network
from chassis.http.middleware import Application, Receive, Scope, Send, adding
from gateway.errors import answer
from gateway.middleware.internal_calls import client_of_call, is_counted
from gateway.rate_limit_storage import RateLimitStorage

_SIGN_INS = frozenset({"/v1/auth/token", "/v1/users", "/oauth/authorize", "/oauth/register"})
_UNLIMITED = frozenset({"/healthz", "/readyz", "/metrics"})

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Quota:
    """A number of requests per window for each key; a request whose key is empty does not count."""

    name: str
    item: RateLimitItem
    key_of: Callable[[Scope], str]
    seconds: int = field(init=False)
    # The quota as an item of `RateLimit-Policy`.
    policy: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", self.item.get_expiry())
        object.__setattr__(self, "policy", f'"{self.name}";q={self.item.amount};w={self.seconds}'.encode())


def by_client(scope: Scope) -> str:
    """The client's address; of an IPv6 one its network, from which a client may take any number of addresses."""
    if known := client_of_call(scope):
        return known
    client = scope.get("client")
    if not client:
        return "unknown"
    address: str = client[0]
    return client_network(address)


def by_sign_in(scope: Scope) -> str:
    """The client's address, for an attempt to sign in or a registration, of a user or of an agent's program."""
    return by_client(scope) if scope["path"] in _SIGN_INS and scope["method"] == "POST" else ""


def by_user(_: Scope) -> str:
    """Principal of the token."""
    return current_principal().subject


class RateLimits:
    """Pure ASGI: counts a request against each of its quotas, and answers 429 when one is used up.

    A call that another process of ours makes for a client is not counted: the client's own request was.
    """

    def __init__(
        self, app: Application, storage: RateLimitStorage, quotas: Sequence[Quota], *, refused: Callable[[str], None]
    ) -> None:
        """`refused` is called with the name of an exceeded quota."""
        self._app = app
        self._storage = storage
        self._quotas = quotas
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in _UNLIMITED or is_counted(scope):
            await self._app(scope, receive, send)
            return
        app = self._app
        headers: list[Header] = []
        for quota in self._quotas:
            key = quota.key_of(scope)
            if not key:
                continue
            count, left = await self._storage.hit(f"{quota.name}:{quota.seconds}:{key}", quota.seconds)
            reset = max(1, math.ceil(left))
            remaining = max(0, quota.item.amount - count)
            headers.append((b"ratelimit-policy", quota.policy))
            headers.append((b"ratelimit", f'"{quota.name}";r={remaining};t={reset}'.encode()))
            if count > quota.item.amount:
                self._refused(quota.name)
                app = answer(_too_many(quota, reset))
                break
        await app(scope, receive, adding(headers, send) if headers else send)


def _too_many(quota: Quota, reset: int) -> ShopError:
    message = f"too many requests: at most {quota.item} for this {quota.name}"
    return ShopError("RATE_LIMITED", message, Kind.EXHAUSTED, retry_after=reset)

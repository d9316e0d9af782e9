"""Identity: principals, access tokens (JWT), and authorization rules. Every process verifies for itself."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jwt

from chassis import wall_clock
from chassis.errors import Kind, ShopError

ISSUER = "https://shop.test"
AUDIENCE = "shop"
# Of an agent's token (RFC 8707): for the MCP server, and for nothing else in the shop.
MCP_AUDIENCE = "shop/mcp"
ALGORITHM = "EdDSA"

_CACHED_TOKENS = 10_000
# Between two tries to renew a token that is still valid.
_RENEW_AGAIN_SECONDS = 5.0
_JWKS_REFRESH_INTERVAL = 5.0


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `subject` is a user's id, or a process's name when `role` is "service"; `token` proves it."""

    subject: str
    role: str
    token: str = ""
    expires_at: float = 0.0
    audience: str = AUDIENCE

    @property
    def signed_in(self) -> bool:
        return self.role != "anonymous"

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def is_service(self, *names: str) -> bool:
        """Whether this is one of these processes (any process when none is named)."""
        return self.role == "service" and (not names or self.subject in names)


ANONYMOUS = Principal("", "anonymous")
_current: ContextVar[Principal] = ContextVar("principal", default=ANONYMOUS)


def current_principal() -> Principal:
    """The caller of this process; anonymous without one."""
    return _current.get()


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Be called by `principal` in the block."""
    token = _current.set(principal)
    try:
        yield
    finally:
        _current.reset(token)


def act_as(principal: Principal) -> None:
    """Be called by `principal` to the end of the current task: for callers that begin one task per call."""
    _current.set(principal)


Rule = Callable[[Principal], bool]


def anyone(_: Principal) -> bool:
    """Rule: no token needed."""
    return True


def signed_in(principal: Principal) -> bool:
    """Rule: any valid token."""
    return principal.signed_in


def admin(principal: Principal) -> bool:
    """Rule: an administrator."""
    return principal.is_admin


def service(*names: str) -> Rule:
    """Rule: one of these processes."""
    return lambda principal: principal.is_service(*names)


def check(rule: Rule, principal: Principal) -> None:
    """Raise UNAUTHENTICATED or FORBIDDEN unless the rule holds."""
    if rule(principal):
        return
    if not principal.signed_in:
        raise ShopError("UNAUTHENTICATED", "missing or invalid access token", Kind.UNAUTHENTICATED)
    raise ShopError("FORBIDDEN", "forbidden: requires another role or account", Kind.FORBIDDEN)


def bearer(authorization: str | None) -> str:
    """The token in an `Authorization: Bearer …` value (RFC 6750); empty when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _refused(reason: str) -> ShopError:
    return ShopError("INVALID_TOKEN", reason, Kind.UNAUTHENTICATED)


class TokenVerifier:
    """Verifies access tokens against the issuer's public keys (RFC 7517), which it fetches when it needs them.

    A verified token is remembered until it expires: verifying costs 140 us, remembering 1. An unknown key has the set
    fetched again, at most every five seconds, so that keys can be rotated without a restart.
    """

    def __init__(
        self,
        fetch_jwks: Callable[[], Awaitable[str]],
        *,
        clock: Callable[[], float] = wall_clock.seconds,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the wall clock, for expiry times; `steady` measures elapsed time and is never set back."""
        self._fetch_jwks = fetch_jwks
        self._clock = clock
        self._steady = steady
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()
        # With the moment, by `steady`, at which each expires at the latest.
        self._verified: OrderedDict[str, tuple[Principal, float]] = OrderedDict()

    async def verify(self, token: str, audiences: Collection[str] = (AUDIENCE,)) -> Principal:
        """Principal of a token for one of the audiences. Raises INVALID_TOKEN, or UPSTREAM_UNAVAILABLE without keys."""
        known = self._verified.get(token)
        principal, until = known or await self._verify_new(token)
        if principal.expires_at <= self._clock() or until <= self._steady():
            self._verified.pop(token, None)
            raise _refused("the token has expired")
        if principal.audience not in audiences:
            raise _refused("the token is for another audience")
        return principal

    async def _verify_new(self, token: str) -> tuple[Principal, float]:
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
        except jwt.PyJWTError as error:
            raise _refused("the token is malformed") from error
        if key_id not in self._keys:
            await self._refresh()
        if key_id not in self._keys:
            raise _refused("the token is signed with an unknown key")
        principal = self._decode(token, self._keys[key_id])
        verified = (principal, self._steady() + principal.expires_at - self._clock())
        self._verified[token] = verified
        if len(self._verified) > _CACHED_TOKENS:
            self._verified.popitem(last=False)
        return verified

    def _decode(self, token: str, key: jwt.PyJWK) -> Principal:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=(AUDIENCE, MCP_AUDIENCE),
                issuer=ISSUER,
                # `expires_at` is judged each time the token is shown. When it was issued decides nothing (RFC 7519,
                # section 4.1.6): refused by a clock that was set back, each new token would be.
                options={"require": ["exp", "iat", "sub"], "verify_exp": False, "verify_iat": False},
            )
            # An int first: NaN and Infinity, which Python's JSON has, would never expire.
            expires_at = float(int(claims["exp"]))
        except (jwt.PyJWTError, TypeError, ValueError, OverflowError) as error:
            raise _refused(f"the token is not valid: {error}") from error
        audience = AUDIENCE if claims["aud"] in (AUDIENCE, [AUDIENCE]) else MCP_AUDIENCE
        return Principal(claims["sub"], str(claims.get("role", "")), token, expires_at, audience)

    async def _refresh(self) -> None:
        async with self._fetching:
            if self._steady() - self._fetched_at < _JWKS_REFRESH_INTERVAL:
                return
            keys = json.loads(await self._fetch_jwks())["keys"]
            self._keys = {key["kid"]: jwt.PyJWK(key) for key in keys}
            self._fetched_at = self._steady()
            self._verified.clear()


async def no_token() -> str:
    """A token source: call anonymously."""
    return ""


async def forward_caller() -> str:
    """A token source: call on behalf of this process's caller."""
    return current_principal().token


class ServiceToken:
    """A token source: call as this process itself, with a token that is renewed before it expires."""

    def __init__(self, issue: Callable[[], Awaitable[tuple[str, float]]]) -> None:
        self._issue = issue
        self._token = ""  # nosec B105 # not signed in yet
        # By the monotonic clock.
        self._renew_at = float("-inf")
        # By the clock that the token's own times are of. Outside of them, it is refused: the clock was set.
        self._issued_at = self._expires_at = 0.0
        self._renewing = asyncio.Lock()

    async def __call__(self) -> str:
        if self._due():
            async with self._renewing:
                if self._due():
                    await self._renew()
        return self._token

    async def _renew(self) -> None:
        try:
            self._token, lifetime = await self._issue()
        except ShopError as error:
            if error.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED) or not self._is_valid():
                raise
            # It is good for a while yet, and users will be back.
            self._renew_at = time.monotonic() + _RENEW_AGAIN_SECONDS
            return
        self._renew_at = time.monotonic() + lifetime * 0.8
        self._issued_at, self._expires_at = wall_clock.seconds(), wall_clock.seconds() + lifetime

    def _due(self) -> bool:
        return time.monotonic() >= self._renew_at or not self._is_valid()

    def _is_valid(self) -> bool:
        return self._issued_at <= wall_clock.seconds() < self._expires_at

"""Who is calling, how it is proven, and what they may do (zero trust: every process asks all three itself)."""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jwt

from chassis.errors import Kind, ShopError

ISSUER = "https://shop.test"
AUDIENCE = "shop"
ALGORITHM = "EdDSA"

_CACHED_TOKENS = 10_000
_JWKS_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `subject` is a user's id, or a process's name when `role` is "service"; `token` proves it."""

    subject: str
    role: str
    token: str = ""
    expires_at: float = 0.0

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
    """Whoever called this process; anonymous where nobody did."""
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
    """Be called by `principal` to the end of the current task: for whoever begins one for each call."""
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


def any_of(*rules: Rule) -> Rule:
    """Rule: at least one of the rules holds."""
    return lambda principal: any(rule(principal) for rule in rules)


def check(rule: Rule, principal: Principal) -> None:
    """Raise UNAUTHENTICATED or FORBIDDEN unless the rule holds."""
    if rule(principal):
        return
    if not principal.signed_in:
        raise ShopError("UNAUTHENTICATED", "a valid access token is needed", Kind.UNAUTHENTICATED)
    raise ShopError("FORBIDDEN", "this caller may not do that", Kind.FORBIDDEN)


def bearer(authorization: str | None) -> str:
    """The token in an `Authorization: Bearer …` value (RFC 6750); empty when there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _refused(reason: str) -> ShopError:
    return ShopError("INVALID_TOKEN", reason, Kind.UNAUTHENTICATED)


class TokenVerifier:
    """Verifies access tokens against the issuer's public keys (RFC 7517), which it fetches when it needs them.

    A verified token is remembered until it expires: verifying costs 140 us, remembering 1. A key that it does not
    know makes it fetch the set again, at most every five seconds, so that keys can be rotated without a restart.
    """

    def __init__(self, fetch_jwks: Callable[[], Awaitable[str]], *, clock: Callable[[], float] = time.time) -> None:
        self._fetch_jwks = fetch_jwks
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching = asyncio.Lock()
        self._verified: OrderedDict[str, Principal] = OrderedDict()

    async def verify(self, token: str) -> Principal:
        """Whoever the token belongs to. Raises INVALID_TOKEN, or UPSTREAM_UNAVAILABLE while no keys are known."""
        known = self._verified.get(token)
        if known is None:
            known = await self._verify_new(token)
        if known.expires_at <= self._clock():
            self._verified.pop(token, None)
            raise _refused("the token has expired")
        return known

    async def _verify_new(self, token: str) -> Principal:
        try:
            key_id = jwt.get_unverified_header(token).get("kid", "")
        except jwt.PyJWTError as error:
            raise _refused("the token is malformed") from error
        if key_id not in self._keys:
            await self._refresh()
        if key_id not in self._keys:
            raise _refused("the token is signed with an unknown key")
        principal = self._decode(token, self._keys[key_id])
        self._verified[token] = principal
        if len(self._verified) > _CACHED_TOKENS:
            self._verified.popitem(last=False)
        return principal

    def _decode(self, token: str, key: jwt.PyJWK) -> Principal:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise _refused(f"the token is not valid: {error}") from error
        return Principal(claims["sub"], str(claims.get("role", "")), token, float(claims["exp"]))

    async def _refresh(self) -> None:
        async with self._fetching:
            if self._clock() - self._fetched_at < _JWKS_PATIENCE:
                return
            keys = json.loads(await self._fetch_jwks())["keys"]
            self._keys = {key["kid"]: jwt.PyJWK(key) for key in keys}
            self._fetched_at = self._clock()
            self._verified.clear()


async def no_token() -> str:
    """A token source: call as nobody."""
    return ""


async def forward_caller() -> str:
    """A token source: call on behalf of whoever called this process."""
    return current_principal().token


class ServiceToken:
    """A token source: call as this process itself, with a token that is renewed before it expires."""

    def __init__(self, issue: Callable[[], Awaitable[tuple[str, float]]]) -> None:
        self._issue = issue
        self._token = ""
        self._renew_at = float("-inf")
        self._renewing = asyncio.Lock()

    async def __call__(self) -> str:
        if time.monotonic() >= self._renew_at:
            async with self._renewing:
                if time.monotonic() >= self._renew_at:
                    self._token, lifetime = await self._issue()
                    self._renew_at = time.monotonic() + lifetime * 0.8
        return self._token

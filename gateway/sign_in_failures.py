"""A limit of failed sign-ins per account, across all addresses."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from limits import RateLimitItem

from chassis.email_addresses import known_forms
from chassis.errors import Kind, ShopError
from gateway.rate_limit_storage import RateLimitStorage

QUOTA = "sign-in-failures"
_FAILED = "WRONG_CREDENTIALS"


class SignInFailures:
    """Counts the failures of each account. Whether the account exists is not looked up, so answers do not show it."""

    def __init__(self, storage: RateLimitStorage, limit: RateLimitItem, *, refused: Callable[[str], None]) -> None:
        """`refused` is called with the quota's name when an attempt exceeds it."""
        self._storage = storage
        self._limit = limit
        self._seconds = limit.get_expiry()
        self._refused = refused

    @asynccontextmanager
    async def attempt(self, email: str) -> AsyncIterator[None]:
        """Try to sign in within the block. Raises RATE_LIMITED when it has failed too often, be the password right."""
        key = f"{QUOTA}:{self._seconds}:{_account(email)}"
        failures, left = await self._storage.hit(key, self._seconds, amount=0)
        if failures >= self._limit.amount:
            self._refused(QUOTA)
            message = f"signing in to this account has failed {self._limit.amount} times: wait before the next attempt"
            raise ShopError("RATE_LIMITED", message, Kind.EXHAUSTED, retry_after=max(1, math.ceil(left)))
        try:
            yield
        except ShopError as error:
            if error.code == _FAILED:
                await self._storage.hit(key, self._seconds)
            raise


def _account(email: str) -> str:
    """A name for an account that does not show its address: counts may be kept in a store that others read."""
    return hashlib.blake2b(known_forms(email)[-1].encode("utf-8", "replace"), digest_size=16).hexdigest()

"""Passwords, hashed with argon2id (RFC 9106) by OWASP's parameters for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from chassis.errors import Kind, ShopError

Result = TypeVar("Result")

# 19 MiB and tens of milliseconds each: so many at once, so that a flood of sign-ins cannot take the machine.
_MAX_CONCURRENT = 2
# So many may wait for their turn: on a busy machine, too, the last of them is done well within a request's two seconds.
MAX_WAITING = 8
# What the password of an account that does not exist is compared with: of a password that was thrown away.
_OF_NO_ACCOUNT = "$argon2id$v=19$m=19456,t=2,p=1$CEahwlDEoH+yDvYtc06ngg$XWCDP3mTwlfXAl3uBmD7KhGNFLU/LG3NsadbQAOkev8"


class Argon2Passwords:
    """One bounded queue for all hashing: registrations and sign-ins wait in it together.

    A job whose caller has gone before its turn is not begun. Both methods raise OVERLOADED when the queue is full.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher(memory_cost=19_456, time_cost=2, parallelism=1)
        self._threads = ThreadPoolExecutor(_MAX_CONCURRENT, thread_name_prefix="argon2")
        self._places = BoundedSemaphore(_MAX_CONCURRENT + MAX_WAITING)

    async def hash(self, password: str) -> str:
        return await self._run_in_pool(lambda: self._hasher.hash(password))

    async def matches(self, password: str, password_hash: str | None) -> bool:
        found = await self._run_in_pool(lambda: self._verify(password, password_hash or _OF_NO_ACCOUNT))
        return found and password_hash is not None

    def _verify(self, password: str, password_hash: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False

    async def _run_in_pool(self, work: Callable[[], Result]) -> Result:
        if not self._places.acquire(blocking=False):
            raise ShopError(
                "OVERLOADED", "too many sign-ins and registrations: try again later", Kind.EXHAUSTED, retry_after=1.0
            )
        job = self._threads.submit(work)
        # Not when this task ends: a job that has begun keeps its place until it is done, cancelled or not.
        job.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(job)

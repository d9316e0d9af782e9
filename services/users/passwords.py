"""Passwords, hashed with argon2id (RFC 9106) by OWASP's parameters for it."""

from __future__ import annotations

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

# 19 MiB and tens of milliseconds each: at most two at once, so that a flood of sign-ins cannot take the machine.
_AT_ONCE = 2


class Argon2Passwords:
    def __init__(self) -> None:
        self._hasher = PasswordHasher(memory_cost=19_456, time_cost=2, parallelism=1)
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        async with self._gate:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def matches(self, password: str, password_hash: str | None) -> bool:
        if password_hash is None:
            self._nobody = self._nobody or await self.hash("nobody has this password")
            await self._verify(password, self._nobody)
            return False
        return await self._verify(password, password_hash)

    async def _verify(self, password: str, password_hash: str) -> bool:
        async with self._gate:
            try:
                return await asyncio.to_thread(self._hasher.verify, password_hash, password)
            except (VerifyMismatchError, InvalidHashError):
                return False

"""The ports of the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.users.domain import User


class UserStore(Protocol):
    async def add(self, user: User) -> None:
        """Raises EMAIL_TAKEN."""

    async def by_email(self, email: str) -> User | None: ...

    async def by_ids(self, ids: Sequence[str]) -> list[User]:
        """Returns users in the order of `ids`; unknown ids are left out."""


class Passwords(Protocol):
    """Both methods raise OVERLOADED when too many wait for them."""

    async def hash(self, password: str) -> str: ...

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """False for no hash too, after the same work: the time taken reveals nothing."""


class TokenSigner(Protocol):
    def sign(self, subject: str, role: str) -> tuple[str, int]:
        """A token and the seconds until it expires."""

    def jwks(self) -> str:
        """The public keys, as a JWK Set in JSON."""

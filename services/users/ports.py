"""The ports of the use cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.users.domain import User
from services.users.oauth_clients import Client, Code


class UserStore(Protocol):
    async def add(self, user: User) -> None:
        """Raises EMAIL_TAKEN."""

    async def by_email(self, email: str) -> User | None: ...

    async def by_ids(self, ids: Sequence[str]) -> list[User]:
        """Returns users in the order of `ids`; unknown ids are left out."""

    async def add_missing(self, demo: Sequence[User]) -> None:
        """Add those users whose id is not there yet."""


class Passwords(Protocol):
    """Both methods raise OVERLOADED when too many wait for them."""

    async def hash(self, password: str) -> str: ...

    async def matches(self, password: str, password_hash: str | None) -> bool:
        """False for no hash too, after the same work: the time taken reveals nothing."""


class ClientStore(Protocol):
    async def add_client(self, client: Client) -> None:
        """Add it. Beyond a bound, the oldest are forgotten that no user ever let act."""

    async def client(self, client_id: str) -> Client | None: ...

    async def add_code(self, code: Code) -> None:
        """Add it, forget those that have expired, and note that a user let its client act."""

    async def take_code(self, code_hash: str) -> Code | None:
        """Take the code, which deletes it: of simultaneous requests only one gets it."""


class TokenSigner(Protocol):
    def sign(self, subject: str, role: str, audience: str = ..., *, until: float = ...) -> tuple[str, int]:
        """A token and the seconds until it expires; no later than `until`, in Unix seconds."""

    def jwks(self) -> str:
        """The public keys, as a JWK Set in JSON."""

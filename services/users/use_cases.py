"""The use cases of users, in plain types."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Mapping, Sequence

from chassis import wall_clock
from chassis.auth.identity import Principal
from chassis.email_addresses import canonical_email, known_forms
from chassis.errors import invalid
from services.users.domain import Role, User, check_registration, wrong_credentials
from services.users.ports import Passwords, TokenSigner, UserStore

MAX_IDS = 100


class Users:
    def __init__(
        self, store: UserStore, passwords: Passwords, signer: TokenSigner, *, service_secrets: Mapping[str, str]
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._signer = signer
        self._service_secrets = service_secrets

    async def issue_token(self, email: str, password: str) -> tuple[str, int]:
        """A token for a user and their password. Raises WRONG_CREDENTIALS."""
        user = await self.authenticated(email, password)
        return self._signer.sign(user.id, user.role)

    async def authenticated(self, email: str, password: str) -> User:
        """The user whose password this is. Raises WRONG_CREDENTIALS."""
        user = await self._by_email(email)
        matches = await self._passwords.matches(password, user.password_hash if user else None)
        if user is None or not matches:
            raise wrong_credentials()
        return user

    async def _by_email(self, typed: str) -> User | None:
        for form in known_forms(typed):
            if user := await self._store.by_email(form):
                return user
        return None

    def issue_service_token(self, service: str, secret: str) -> tuple[str, int]:
        """A token for a process and its secret. Raises WRONG_CREDENTIALS."""
        expected = self._service_secrets.get(service, "")
        if not expected or not hmac.compare_digest(expected.encode(), secret.encode()):
            raise wrong_credentials("service name or secret")
        return self._signer.sign(service, "service")

    def jwks(self) -> str:
        return self._signer.jwks()

    async def register(self, name: str, email: str, password: str) -> User:
        """A new customer. Raises INVALID_INPUT or EMAIL_TAKEN."""
        check_registration(name, email, password)
        user = User(
            id=uuid.uuid4().hex,
            name=name.strip(),
            email=canonical_email(email),
            role=Role.CUSTOMER,
            password_hash=await self._passwords.hash(password),
            registered_at=wall_clock.now(),
        )
        await self._store.add(user)
        return user

    async def users(self, ids: Sequence[str], caller: Principal) -> list[User]:
        """The users that the caller may see: themselves; all of them for an admin or a process."""
        if len(ids) > MAX_IDS:
            at_most = f"must have at most {MAX_IDS} ids"
            raise invalid(f"request {at_most}", ids=at_most)
        sees_all = caller.is_admin or caller.is_service()
        return await self._store.by_ids([user_id for user_id in ids if sees_all or user_id == caller.subject])

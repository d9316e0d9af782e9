"""The use cases of OAuth 2.1: a user lets a program act for them at the MCP server, and nowhere else."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Sequence

from chassis import wall_clock
from chassis.auth.identity import MCP_AUDIENCE, TokenVerifier
from services.users import oauth_clients
from services.users.ports import ClientStore, TokenSigner, UserStore
from services.users.use_cases import Users


class Authorization:
    def __init__(
        self, clients: ClientStore, accounts: UserStore, users: Users, signer: TokenSigner, verifier: TokenVerifier
    ) -> None:
        self._clients = clients
        self._accounts = accounts
        self._users = users
        self._signer = signer
        self._verifier = verifier

    async def register_client(self, name: str, redirect_uris: Sequence[str]) -> oauth_clients.Client:
        """A new client. Raises INVALID_INPUT."""
        oauth_clients.check_registration(name, redirect_uris)
        client = oauth_clients.Client(uuid.uuid4().hex, name.strip(), tuple(redirect_uris), wall_clock.now())
        await self._clients.add_client(client)
        return client

    async def client(self, client_id: str, redirect_uri: str) -> oauth_clients.Client:
        """The client that may be answered there. Raises UNKNOWN_CLIENT or FOREIGN_REDIRECT."""
        client = await self._clients.client(client_id)
        if client is None:
            raise oauth_clients.unknown_client()
        oauth_clients.check_redirect(client, redirect_uri)
        return client

    async def authorize(self, email: str, password: str, *, client_id: str, redirect_uri: str, challenge: str) -> str:
        """A code for the client, in the name of this user. Raises WRONG_CREDENTIALS, and what `client` raises."""
        oauth_clients.check_challenge(challenge)
        client = await self.client(client_id, redirect_uri)
        user = await self._users.authenticated(email, password)
        code = secrets.token_urlsafe(32)
        expires_at = wall_clock.now() + oauth_clients.CODE_LIFETIME
        await self._clients.add_code(
            oauth_clients.Code(_hash(code), client.id, redirect_uri, challenge, user.id, expires_at)
        )
        return code

    async def redeem(self, code: str, *, client_id: str, redirect_uri: str, verifier: str) -> tuple[str, int]:
        """A token for the MCP server. Raises INVALID_GRANT; the code is then gone as well: it is tried once."""
        found = oauth_clients.check_code(
            await self._clients.take_code(_hash(code)), client_id, redirect_uri, verifier, wall_clock.now()
        )
        [user] = await self._accounts.by_ids([found.user_id])
        return self._signer.sign(user.id, user.role, MCP_AUDIENCE)

    async def exchange(self, agents_token: str) -> tuple[str, int]:
        """A token for the services, instead of one for the MCP server; it expires with that. Raises INVALID_TOKEN."""
        agent = await self._verifier.verify(agents_token, (MCP_AUDIENCE,))
        return self._signer.sign(agent.subject, agent.role, until=agent.expires_at)


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()

"""`shop mcp`: the shop's MCP server over stdio, for a desktop client that starts it."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Annotated

import typer

from shop.gateway_client import Gateway
from shop.sign_in import CUSTOMER, password_of
from shop.urls import trust, url_of

# Seconds. An access token lives 15 minutes unless SHOP_TOKEN_LIFETIME is set.
_MAX_INTERVAL = 300.0


def mcp(
    email: Annotated[
        str, typer.Option(help="Account to act for. Admins can explain orders and audit, too.")
    ] = CUSTOMER,
) -> None:
    """Serve MCP over standard input and output, for a desktop client that starts this command.

    The password comes from SHOP_PASSWORD, or is a demo account's. Messages are on standard output, errors on standard
    error.
    Exit status: 0 the client has gone; 2 the sign-in failed.
    """
    from mcp_server.stdio import serve

    tokens = _Tokens(email, password_of(email))
    tokens.renew()
    environment = dict(os.environ)
    asyncio.run(
        serve(
            tokens,
            gateway_url=url_of("gateway", environment),
            notifier_url=url_of("notifier", environment),
            trust=trust(environment),
        )
    )


class _Tokens:
    """The account's access token, renewed before it expires."""

    def __init__(self, email: str, password: str) -> None:
        self._email = email
        self._password = password
        self._token = ""  # nosec B105 # not signed in yet
        self._renew_at = 0.0

    async def __call__(self) -> str:
        if time.monotonic() >= self._renew_at:
            await asyncio.to_thread(self.renew)
        return self._token

    def renew(self) -> None:
        """Sign in. Raises `Refused`."""
        with Gateway(url_of("gateway", os.environ), trust=trust(os.environ)) as gateway:
            self._token, lifetime = gateway.sign_in_for(self._email, self._password)
        self._renew_at = time.monotonic() + min(_MAX_INTERVAL, lifetime / 2)

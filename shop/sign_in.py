"""Signing in from the command line, and the demo accounts' public passwords."""

from __future__ import annotations

import getpass
import os
import sys

from shop.errors import Refused
from shop.gateway_client import Gateway
from shop.urls import trust, url_of

CUSTOMER = "demo@shop.test"
ADMIN = "admin@shop.test"
_PASSWORDS = {CUSTOMER: "demo", ADMIN: "admin"}


def token(email: str) -> str:
    """An access token for an account. Raises `Refused`."""
    password = password_of(email)
    with Gateway(url_of("gateway", os.environ), trust=trust(os.environ)) as gateway:
        return gateway.sign_in(email, password)


def password_of(email: str) -> str:
    """SHOP_PASSWORD if it is set; a demo account's; else what a person types. Raises `Refused` without a terminal."""
    known = os.environ.get("SHOP_PASSWORD") or _PASSWORDS.get(email)
    if known:
        return known
    if not sys.stdin.isatty():
        raise Refused(f"the password of {email} is missing: set SHOP_PASSWORD")
    return getpass.getpass(f"Password of {email}: ")

"""Users: accounts and their rules. No framework, no database, no wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from chassis.email_addresses import canonical_email
from chassis.errors import Kind, ShopError, invalid

MIN_PASSWORD = 8
MAX_PASSWORD = 128
MAX_NAME = 100


class Role(StrEnum):
    CUSTOMER = "customer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    id: str
    name: str
    email: str
    role: Role
    password_hash: str
    registered_at: datetime


def check_registration(name: str, email: str, password: str) -> None:
    """Raise INVALID_INPUT, naming every field that is wrong."""
    problems: dict[str, str] = {}
    if not 1 <= len(name.strip()) <= MAX_NAME:
        problems["name"] = f"must have 1 to {MAX_NAME} characters"
    try:
        canonical_email(email)
    except ValueError as error:
        problems["email"] = str(error)
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        problems["password"] = f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters"
    if problems:
        raise invalid("the registration cannot be accepted", **problems)


def email_taken(email: str) -> ShopError:
    return ShopError("EMAIL_TAKEN", f"{email} is registered already", Kind.CONFLICT)


def wrong_credentials(pair: str = "email or password") -> ShopError:
    """One answer for an unknown name and a wrong secret: it does not reveal which names exist."""
    return ShopError("WRONG_CREDENTIALS", f"wrong {pair}", Kind.UNAUTHENTICATED)

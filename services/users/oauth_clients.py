"""Clients of OAuth 2.1 (programs that act for users) and their codes: the rules. No framework, no database, no wire."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import SplitResult, urlsplit

from chassis.errors import Kind, ShopError, invalid

MAX_NAME = 100
MAX_REDIRECT_URIS = 5
MAX_REDIRECT_URI = 500
# OAuth 2.1 recommends no more than ten minutes; a program redeems at once.
CODE_LIFETIME = timedelta(minutes=1)
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Client:
    """A public client: it has no secret, so that PKCE and its redirect URIs are what protects its users."""

    id: str
    name: str
    redirect_uris: Sequence[str]
    registered_at: datetime


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code and what it is bound to. The code itself is not kept, only its SHA-256."""

    hash: str
    client_id: str
    redirect_uri: str
    challenge: str
    user_id: str
    expires_at: datetime


def check_registration(name: str, redirect_uris: Sequence[str]) -> None:
    """Raise INVALID_INPUT, naming every field that is wrong."""
    problems: dict[str, str] = {}
    if len(name) > MAX_NAME or not name.isprintable():
        problems["name"] = f"must have at most {MAX_NAME} printable characters"
    if not 1 <= len(redirect_uris) <= MAX_REDIRECT_URIS:
        problems["redirect_uris"] = f"must be 1 to {MAX_REDIRECT_URIS}"
    elif not all(_may_be_registered(uri) for uri in redirect_uris):
        problems["redirect_uris"] = (
            "must be https, or http on this computer, without user and fragment,"
            f" of at most {MAX_REDIRECT_URI} characters"
        )
    if problems:
        raise invalid("the client cannot be registered", **problems)


def _may_be_registered(uri: str) -> bool:
    parts = _parts(uri)
    if parts is None or parts.fragment or "#" in uri or parts.username is not None:
        return False
    return parts.scheme == "https" or _is_loopback(parts)


def _parts(uri: str) -> SplitResult | None:
    """The parts of a URI that has a host; None for anything else."""
    if len(uri) > MAX_REDIRECT_URI or not _VISIBLE.fullmatch(uri) or "\\" in uri:
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises when it is none
    except ValueError:
        return None
    return parts if parts.hostname else None


def _is_loopback(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in LOOPBACK


def check_redirect(client: Client, uri: str) -> None:
    """Raise FOREIGN_REDIRECT unless the URI is exactly one of the client's own, but for the port of a loopback one.

    A program on the user's computer takes whatever port is free (RFC 8252, section 7.3; OAuth 2.1, section 2.3.1).
    """
    if uri not in client.redirect_uris and _without_port(uri) not in map(_without_port, client.redirect_uris):
        raise ShopError("FOREIGN_REDIRECT", "redirect_uri must be registered for this client", Kind.INVALID)


def _without_port(uri: str) -> str:
    """A loopback URI without its port; any other as it is."""
    parts = _parts(uri)
    if parts is None or not _is_loopback(parts) or parts.username is not None:
        return uri
    host = f"[{parts.hostname}]" if parts.hostname == "::1" else parts.hostname
    return parts._replace(netloc=host or "").geturl()


def check_challenge(challenge: str) -> None:
    """Raise INVALID_INPUT unless it can be an S256 challenge (RFC 7636, section 4.2)."""
    if not _CHALLENGE.fullmatch(challenge):
        raise invalid("PKCE is required", code_challenge="must be a SHA-256 in base64url, 43 characters")


def check_code(code: Code | None, client_id: str, redirect_uri: str, verifier: str, now: datetime) -> Code:
    """The code, if it is valid and everything is as it was when the user agreed. Raises INVALID_GRANT.

    `redirect_uri` is empty where the client did not send it (OAuth 2.1, section 10.2).
    """
    if (
        code is None
        or code.expires_at <= now
        or code.client_id != client_id
        or redirect_uri not in ("", code.redirect_uri)
        or not _VERIFIER.fullmatch(verifier)
        or not hmac.compare_digest(s256(verifier), code.challenge)
    ):
        # One answer: which part was wrong is of use to an attacker alone.
        raise ShopError("INVALID_GRANT", "the code is used, expired, or was given for another request", Kind.INVALID)
    return code


def s256(verifier: str) -> str:
    """The challenge of a verifier (RFC 7636, section 4.6)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def unknown_client() -> ShopError:
    return ShopError("UNKNOWN_CLIENT", "no client has this id: register it (again)", Kind.NOT_FOUND)

"""Conditional requests (RFC 9110, section 13): entity tags and their comparison."""

from __future__ import annotations

import hashlib
import re

from chassis.errors import Kind, ShopError

_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def version_etag(resource_id: str, version: int) -> str:
    """A strong tag: the same version is the same bytes."""
    return f'"{resource_id}-{version}"'


def content_etag(content: bytes) -> str:
    """A weak tag of something that has no version of its own."""
    return f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def none_match(if_none_match: str | None, etag: str) -> bool:
    """Whether the client needs the representation: none of its tags matches (weak comparison)."""
    if not if_none_match:
        return True
    if if_none_match.strip() == "*":
        return False
    wanted = _opaque(etag)
    return all(opaque != wanted for _, opaque in _ETAG.findall(if_none_match))


def strongly_matches(if_match: str, etag: str) -> bool:
    """Whether one of the tags of an `If-Match` is a representation's (strong comparison: weak tags never are).

    A tag of one content coding stands for the same version in any.
    """
    if if_match.strip() == "*":
        return True
    if etag.startswith("W/"):
        return False
    wanted = _without_coding(_opaque(etag))
    return any(not weak and _without_coding(tag) == wanted for weak, tag in _ETAG.findall(if_match))


def _without_coding(opaque: str) -> str:
    return opaque.removesuffix(";br").removesuffix(";gzip")


def versions_wanted(if_match: str | None, product_id: str) -> list[int] | None:
    """The versions of a product that an `If-Match` accepts; None for any.

    Raises VERSION_MISMATCH when it can match none (strong comparison: weak tags never do).
    """
    if if_match is None or if_match.strip() == "*":
        return None
    prefix = f"{product_id}-"
    endings = [
        opaque.removeprefix(prefix)
        for weak, opaque in _ETAG.findall(if_match)
        if not weak and opaque.startswith(prefix)
    ]
    # Up to 18 digits: what fits into the contract's int64.
    versions = [int(ending) for ending in endings if re.fullmatch(r"[0-9]{1,18}", ending)]
    if not versions:
        raise ShopError("VERSION_MISMATCH", "If-Match must be an ETag of this product", Kind.PRECONDITION)
    return versions


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')

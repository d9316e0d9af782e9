"""Shared cache rules (RFC 9111) as pure functions over headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chassis.http.header_fields import elements
from gateway.http.etags import none_match

_MAX_SECONDS = 2**31
_MAX_DIGITS = len(str(_MAX_SECONDS))


def directives(cache_control: str) -> dict[str, str]:
    """The directives of a `Cache-Control` field: name -> argument, empty where there is none (section 5.2)."""
    found: dict[str, str] = {}
    for element in elements(cache_control.lower()):
        name, _, argument = element.partition("=")
        found[name.strip(" \t")] = argument.strip(" \t").strip('"')
    return found


def seconds(directive: str | None) -> float | None:
    """The argument of a directive in seconds; None when it is missing or none (section 1.2.2)."""
    if not directive or not (directive.isascii() and directive.isdecimal()):
        return None
    # More digits than the most seconds have need no arithmetic, which for very many of them takes long.
    digits = directive.lstrip("0") or "0"
    return float(_MAX_SECONDS if len(digits) > _MAX_DIGITS else min(int(digits), _MAX_SECONDS))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request's Cache-Control directives (section 5.2.1)."""

    store: bool = True
    revalidate: bool = False
    only_stored: bool = False
    max_age: float | None = None
    min_fresh: float = 0.0

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes]) -> Wanted:
        text = headers.get(b"cache-control")
        if text is None:
            # Section 5.4: for the clients of 1996.
            return _REVALIDATED if headers.get(b"pragma", b"").lower() == b"no-cache" else _ANYTHING
        said = directives(text.decode("latin-1"))
        return cls(
            store="no-store" not in said,
            revalidate="no-cache" in said,
            only_stored="only-if-cached" in said,
            max_age=seconds(said.get("max-age")),
            min_fresh=seconds(said.get("min-fresh")) or 0.0,
        )

    def accepts(self, age: float, lifetime: float) -> bool:
        """Whether a stored response of this age may be used as it is (section 4.2)."""
        if self.revalidate or age >= lifetime - self.min_fresh:
            return False
        return self.max_age is None or age <= self.max_age


_ANYTHING = Wanted()
_REVALIDATED = Wanted(revalidate=True)


def lifetime(status: int, headers: Mapping[bytes, bytes]) -> float:
    """Seconds for which a shared cache may use a response (sections 3 and 4.2.1); 0 when it may not keep it.

    Only what has `public` or `s-maxage` is kept: that also allows it to answer requests with `Authorization`
    (section 3.5), and what is for one user has neither.
    """
    said = directives(headers.get(b"cache-control", b"").decode("latin-1"))
    forbidden = {"no-store", "private", "no-cache"} & said.keys()
    if status != 200 or forbidden or not {"public", "s-maxage"} & said.keys():
        return 0.0
    if b"set-cookie" in headers or headers.get(b"vary", b"").strip() == b"*":
        return 0.0
    shared = seconds(said.get("s-maxage"))
    return (seconds(said.get("max-age")) or 0.0) if shared is None else shared


def varies_by(headers: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """The request's fields that a response was selected by (section 4.1)."""
    return tuple(sorted(name.strip().lower() for name in headers.get(b"vary", b"").split(b",") if name.strip()))


def is_current(if_none_match: bytes | None, etag: bytes) -> bool:
    """Whether the client has this representation already (section 4.3.2)."""
    if not if_none_match or not etag:
        return False
    return not none_match(if_none_match.decode("latin-1"), etag.decode("latin-1"))

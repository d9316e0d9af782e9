"""Origin check: the origins that the settings allow, for CORS and for WebSockets.

Browsers let any page open a WebSocket and leave it to the server to refuse (RFC 6455, section 10.2); what a page may
read over HTTP follows the same list (https://fetch.spec.whatwg.org/#http-cors-protocol).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

ANY = "*"
# A page that is being developed is served by any port of the developer's own machine.
_LOCALHOST = ("http://localhost:*", "https://localhost:*", "http://127.0.0.1:*", "http://[::1]:*")


def origins(text: object) -> object:
    """The origins of a comma-separated setting: "https://example.com, http://localhost:*", or "*" for any.

    A port may be `*`. What is no text is left as it is. Raises `ValueError` for a part that can be no origin.
    """
    if not isinstance(text, str):
        return text
    found = tuple(each.strip() for each in text.split(",") if each.strip())
    for each in found:
        if each != ANY and not _is_origin(each):
            raise ValueError(f"{each!r} is not an origin: write origins as https://example.com, separated by commas")
    return found


# A setting that holds origins, None while it is not set: every one is written, and read, in this one form.
Origins = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(origins)]


def allowed_origins(setting: Sequence[str] | None, *, env: str) -> Sequence[str]:
    """The origins of a setting; where it is not set, any port of localhost in development, and none in production."""
    if setting is not None:
        return setting
    return _LOCALHOST if env == "development" else ()


def origin_listed(origin: str, allowed: Collection[str]) -> bool:
    """Whether an `Origin` is one of those `allowed`, in which a port may be `*` and "*" stands for any."""
    if ANY in allowed or origin in allowed:
        return True
    parts = _parts(origin)
    return parts is not None and f"{parts.scheme}://{_host(parts)}:{ANY}" in allowed


def origin_allowed(origin: str | None, host: str, allowed: Sequence[str]) -> bool:
    """Whether a page from `origin` may connect to us at `host`; a client that sends none is no browser.

    A page of the same host always may; besides that, those of the origins in `allowed`.
    """
    if origin is None:
        return True
    parts = _parts(origin)
    return parts is not None and (parts.netloc == host or origin_listed(origin, allowed))


def _is_origin(text: str) -> bool:
    parts = _parts(text.removesuffix(f":{ANY}"))
    return parts is not None and bool(parts.scheme and parts.hostname) and not (parts.path or parts.query)


def _parts(origin: str) -> SplitResult | None:
    try:
        return urlsplit(origin)
    except ValueError:
        return None


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host

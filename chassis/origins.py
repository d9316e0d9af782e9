"""Whose pages may open a WebSocket: browsers let any page do so, and leave it to the server to refuse."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit


def origin_allowed(origin: str | None, host: str, allowed: Sequence[str]) -> bool:
    """Whether a page from `origin` may connect to us at `host` (RFC 6455, 10.2); who sends none is no browser.

    Always the page's own host; besides that the origins in `allowed`, in which a port may be `*`.
    """
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    any_port = f"{parts.scheme}://{parts.hostname}:*"
    return parts.netloc == host or origin in allowed or any_port in allowed

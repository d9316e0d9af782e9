"""The page for people: a query, its variables, its answer and the schema, of this project's own and without a network.

GraphiQL's assets come from a CDN or from a bundle of several megabytes that no Python package keeps up to date.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_INLINE = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    html: bytes
    headers: Mapping[str, str]


def explorer() -> Page:
    """The page, and a Content-Security-Policy that lets nothing run but what is in it."""
    html = Path(__file__).with_name("explorer.html").read_bytes()
    hashes = {
        kind.decode(): base64.b64encode(hashlib.sha256(text).digest()).decode() for kind, text in _INLINE.findall(html)
    }
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html, {"content-security-policy": policy})

"""`shop open`: the pages that a person looks at, by name."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from shop.errors import Refused, nearest
from shop.urls import elsewhere, url_of

_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class Page:
    process: str
    path: str
    shows: str


PAGES = {
    "console": Page("console", "/", "one order, hop by hop"),
    "docs": Page("gateway", "/docs", "the REST API"),
    "graphiql": Page("gateway", "/graphql", "GraphQL, with completion"),
    "mails": Page("smtp_sink", "/mails", "the mails that were sent"),
    "traces": Page("console", "/api/traces", "the newest traces, as JSON"),
    "wsdl": Page("legacy_soap", "/?wsdl", "the ERP's contract"),
}


def address(name: str, env: Mapping[str, str]) -> str:
    """The URL of a page that answers. Raises `Refused` for an unknown name, and where nothing listens."""
    page = PAGES.get(name)
    if page is None:
        raise Refused(f'unknown page "{name}"{nearest(name, PAGES)}')
    if setting := elsewhere(env):
        raise Refused(
            f"the shop runs elsewhere ({setting}): open its pages from your own machine, such as "
            f"http://localhost:8000/docs and http://localhost:8003"
        )
    base = url_of(page.process, env)
    parts = urlsplit(base)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=_TIMEOUT):
            return base + page.path
    except OSError as error:
        raise Refused(
            f'no shop is running here ({page.process} does not answer at {base}). Start one with "make up"'
        ) from error


def has_browser(env: Mapping[str, str]) -> bool:
    """Whether a page can be opened here: a person is at the terminal, and there is a display."""
    shown = sys.platform == "darwin" or os.name == "nt" or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))
    return shown and sys.stdout.isatty()

"""The catalogue of error codes: status, cause and cure of each, for the documentation and for pages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from chassis.webpages import html

_FILE = Path(__file__).with_name("error_codes.toml")


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """`status` is the HTTP status, or the code's other carrier; `cure` is what its reader can do."""

    code: str
    status: str
    cause: str
    cure: str

    @property
    def slug(self) -> str:
        """The last part of the problem's `type`: OUT_OF_STOCK is out-of-stock."""
        return self.code.lower().replace("_", "-")


@cache
def error_codes() -> Mapping[str, ErrorCode]:
    """Every code, by its slug."""
    listed = tomllib.loads(_FILE.read_text("utf-8"))["codes"]
    found = [ErrorCode(code, each["status"], each["cause"], each["cure"]) for code, each in listed.items()]
    return {each.slug: each for each in found}


def code_page(found: ErrorCode) -> bytes:
    """One code for a reader."""
    row = (escape(found.status), escape(found.cause), escape(found.cure))
    more = f"<p>{html.link('/problems', 'All codes')} · {html.link('/', 'Start')}</p>"
    return html.page(f"{found.code} · Polyglot Shop", html.table(("Status", "Cause", "What to do"), [row]), more)


def codes_page() -> bytes:
    """All codes for a reader."""
    rows = [
        (html.link(f"/problems/{slug}", each.code), escape(each.status), escape(each.cause))
        for slug, each in error_codes().items()
    ]
    return html.page("Error codes · Polyglot Shop", html.table(("Code", "Status", "Cause"), rows))

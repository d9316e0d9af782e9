"""A page in the shop's plain style, and whether a client accepts one.

Nothing on it can run: its Content-Security-Policy allows its one style sheet and no script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape

from chassis.http.header_fields import media_weight, weights

_STYLE = """
:root { color-scheme: light dark; --line: #d8dce2; --soft: #5d6878; --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --line: #333a45; --soft: #98a3b3; --link: #7cb7ff; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem; }
a { color: var(--link); } code, pre { font: .88em ui-monospace, Menlo, Consolas, monospace; }
pre { border: 1px solid var(--line); border-radius: .4rem; overflow: auto; padding: .6rem .8rem; }
.soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .8rem .35rem 0; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: normal; }
.wide { overflow-x: auto; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "vary": "Accept",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
MEDIA_TYPE = "text/html; charset=utf-8"


def accepts_html(accept: str) -> bool:
    """Whether an `Accept` names HTML and gives it no lower weight than JSON: a browser's does, curl's does not."""
    wanted = weights(accept)
    html = wanted.get("text/html", 0.0)
    return html > 0 and html >= media_weight(wanted, "application/json")


def page(title: str, *parts: str) -> bytes:
    """A page of parts that are HTML already."""
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f'<link rel="icon" href="data:,"><style>{_STYLE}</style></head>'
    )
    return f"{head}<body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>\n".encode()


def link(href: str, text: str) -> str:
    return f'<a href="{escape(href)}">{escape(text)}</a>'


def text(words: str, css: str = "") -> str:
    """A paragraph."""
    return f'<p class="{css}">{escape(words)}</p>' if css else f"<p>{escape(words)}</p>"


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose cells are HTML already."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

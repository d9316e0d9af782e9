"""`docs/requests/shop.http`, read: requests of every protocol, in the dialect of editors' HTTP clients.

`python -m tools.docs.requests_file --write` makes the Bruno collection beside it of its HTTP requests; without
`--write` it checks that the collection is up to date.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.committed import ROOT

FILE = ROOT / "docs/requests/shop.http"
COLLECTION = ROOT / "docs/requests/bruno"
_VARIABLE = re.compile(r"@(\w+)\s*=\s*(.+)")
_TAG = re.compile(r"#\s*(?:@(name)\s+|(expect):\s*)(.+)")
_ANSWER = re.compile(r"\{\{(\w+)\.response\.(body|headers)\.(.+?)\}\}")
_HTTP = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `expect` is what its answer must have: a status, one of several, or a word."""

    title: str
    name: str
    expect: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: str

    @property
    def is_http(self) -> bool:
        return self.method in _HTTP


def read(text: str) -> tuple[dict[str, str], list[Request]]:
    """The file's variables and its requests. Raises `ValueError` for a block without a request line."""
    head, *blocks = re.split(r"^###", text, flags=re.MULTILINE)
    variables = {found[1]: found[2].strip() for line in head.splitlines() if (found := _VARIABLE.match(line))}
    return variables, [_request(block) for block in blocks]


def _request(block: str) -> Request:
    title, *lines = block.strip("\n").splitlines()
    tags: dict[str, str] = {}
    while lines and (not lines[0].strip() or lines[0].startswith("#")):
        line = lines.pop(0)
        if found := _TAG.match(line):
            tags[found[1] or found[2]] = found[3].strip()
    if not lines:
        raise ValueError(f"{title.strip()}: there is no request line")
    method, _, url = lines.pop(0).partition(" ")
    headers: dict[str, str] = {}
    while lines and lines[0].strip():
        name, _, value = lines.pop(0).partition(":")
        headers[name.strip()] = value.strip()
    body = "\n".join(lines).strip()
    return Request(title.strip(), tags.get("name", ""), tags.get("expect", ""), method, url.strip(), headers, body)


def bruno() -> dict[str, str]:
    """The collection's files by name."""
    variables, requests = read(FILE.read_text())
    files = {
        "bruno.json": json.dumps({"version": "1", "name": "Polyglot Shop", "type": "collection"}, indent=2) + "\n",
        "environments/local.bru": _block("vars", variables),
    }
    for number, request in enumerate((each for each in requests if each.is_http), start=1):
        name = re.sub(r"[^A-Za-z0-9]+", "-", request.title).strip("-").lower()
        files[f"{number:02}-{name}.bru"] = _bru(number, request)
    return files


def _bru(number: int, request: Request) -> str:
    """One request in Bruno's language; what an earlier answer holds is a variable that that request sets."""
    kind = _body_kind(request)
    parts = [
        _block("meta", {"name": request.title, "type": "http", "seq": str(number)}),
        _block(request.method.lower(), {"url": _named(request.url), "body": kind, "auth": "none"}),
        _block("headers", {name: _named(value) for name, value in request.headers.items()}),
    ]
    if kind == "formUrlEncoded":
        fields = dict(pair.split("=", 1) for pair in request.body.split("&"))
        parts.append(_block("body:form-urlencoded", fields))
    elif request.body:
        inner = "\n".join(f"  {line}" for line in _named(request.body).splitlines())
        parts.append(f"body:{kind} {{\n{inner}\n}}\n")
    if request.name:
        parts.append(_block("vars:post-response", _kept(request.name)))
    return "\n".join(parts)


def _body_kind(request: Request) -> str:
    media_type = request.headers.get("Content-Type", "").partition(";")[0]
    kinds = {"application/json": "json", "text/xml": "xml", "application/x-www-form-urlencoded": "formUrlEncoded"}
    return kinds.get(media_type, "none") if request.body else "none"


def _named(text: str) -> str:
    return _ANSWER.sub(lambda found: "{{" + _variable(found[1], found[2], found[3]) + "}}", text)


def _variable(name: str, part: str, path: str) -> str:
    return re.sub(r"\W+", "_", f"{name}_{part}_{path}").strip("_")


def _kept(name: str) -> dict[str, str]:
    """The variables that a request's answer is kept in: those that any other request uses."""
    kept: dict[str, str] = {}
    for found in _ANSWER.finditer(FILE.read_text()):
        if found[1] == name and not found[3].startswith("//"):
            source = f"res.body.{found[3]}" if found[2] == "body" else f'res.headers["{found[3].lower()}"]'
            kept[_variable(*found.groups())] = source
    if name == "erp_login":
        kept[_variable(name, "body", "//*[local-name()='SessionId']")] = "res.body.match(/SessionId>([^<]+)</)[1]"
    return kept


def _block(name: str, values: Mapping[str, str]) -> str:
    return f"{name} {{\n" + "".join(f"  {key}: {value}\n" for key, value in values.items()) + "}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check or write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="bring docs/requests/bruno up to date")
    files = bruno()
    if parser.parse_args(arguments).write:
        for name, content in files.items():
            path = COLLECTION / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    found = [path for path in COLLECTION.rglob("*") if path.is_file()]
    there = {path.relative_to(COLLECTION).as_posix(): path.read_text() for path in found}
    if there != files:
        sys.stderr.write("docs/requests/bruno is not up to date: run python -m tools.docs.requests_file --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

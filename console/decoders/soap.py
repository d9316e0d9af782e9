"""SOAP 1.1 envelopes: the envelope's own tags, its header, and its body."""

from __future__ import annotations

import re
from typing import Any

from lxml import etree

from console.decoders.parts import Part, readable

_ENVELOPE = re.compile(rb"<(?:[\w.-]+:)?Envelope[\s>]")
_SECTION = re.compile(rb"<(?P<prefix>[\w.-]+:)?(?P<name>Header|Body)(?:\s[^<>]*)?(?:/>|>)")

_MEANINGS = {"Header": "the caller's session", "Body": "the operation and its arguments, or its result or fault"}


def is_envelope(body: bytes) -> bool:
    """Whether a body is a SOAP envelope."""
    return _ENVELOPE.search(body[:512]) is not None


def parts(body: bytes) -> list[Part]:
    """The envelope with its declarations, the header, the body, and what closes them."""
    found: list[Part] = []
    at = 0
    for section in _SECTION.finditer(body):
        if section.start() < at:
            continue  # within the section before it
        found += _between(body, at, section.start())
        at = _end(body, section)
        name = section["name"].decode()
        found.append(Part(f"SOAP {name.lower()}", section.start(), at, _MEANINGS[name]))
    return found + _between(body, at, len(body))


def _end(body: bytes, section: re.Match[bytes]) -> int:
    if section[0].endswith(b"/>"):
        return section.end()
    closing = b"</" + (section["prefix"] or b"") + section["name"] + b">"
    found = body.find(closing, section.end())
    return len(body) if found < 0 else found + len(closing)


def _between(body: bytes, start: int, end: int) -> list[Part]:
    if start == end:
        return []
    return [Part("SOAP envelope", start, end, readable(body[start:end].strip(), 80))]


def decoded(body: bytes) -> Any:
    """XML as nested objects, without namespaces; what cannot be read as text."""
    # Of one that was cut off, what is there. Nothing that it names is fetched or put in.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True, remove_comments=True)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        root = None
    return body.decode(errors="replace") if root is None else {_local(root): _value(root)}


def _value(element: Any) -> Any:
    children = [child for child in element if isinstance(child.tag, str)]
    if not children:
        return element.text or ""
    found: dict[str, Any] = {}
    for child in children:
        name, value = _local(child), _value(child)
        if name in found:
            found[name] = [*found[name], value] if isinstance(found[name], list) else [found[name], value]
        else:
            found[name] = value
    return found


def _local(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]

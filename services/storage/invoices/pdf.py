"""A PDF of text in a few columns: as little of ISO 32000 as an invoice needs.

A4 pages, the standard fonts that every reader has (Helvetica), Windows-1252 text. A character that those fonts lack is
written as its nearest Latin one, or as `?`.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 595, 842
_MARGIN = 56
_WIDTHS = {"bold": "F2", "regular": "F1"}
# Helvetica's digits, points, commas and spaces: what is set flush right is made of these and capitals.
_NARROW, _DIGIT, _CAPITAL = 0.278, 0.556, 0.7


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text at `x` points from the left; `right` makes it end there instead."""

    x: float
    content: str
    size: float = 10
    bold: bool = False
    right: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Texts on one line, which takes `height` points; `rule` draws a line under it."""

    texts: Sequence[Text]
    height: float = 16
    rule: bool = False


def document(title: str, rows: Sequence[Row]) -> bytes:
    """The rows, on as many pages as they take. The same input always makes the same bytes."""
    pages = [_content(page) for page in _paged(rows)]
    first = 5  # after the catalog, the page tree, and two fonts
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (en) >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        _font("Helvetica"),
        _font("Helvetica-Bold"),
    ]
    for number, content in enumerate(pages):
        packed = zlib.compress(content, 9)
        objects += [
            (
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents {first + 2 * number + 1} 0 R"
                " /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
            ).encode(),
            f"<< /Length {len(packed)} /Filter /FlateDecode >>\nstream\n".encode() + packed + b"\nendstream",
        ]
    objects.append(b"<< /Title (" + _escaped(title) + b") /Producer (Polyglot Shop) >>")
    return _file(objects)


def _file(objects: Sequence[bytes]) -> bytes:
    """The objects, numbered from 1, with their cross-reference table; the last one is the document's information."""
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010d} 00000 n \n".encode() for offset in offsets)
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>"
    out += f"trailer\n{trailer}\nstartxref\n{table}\n%%EOF\n".encode()
    return bytes(out)


def _paged(rows: Sequence[Row]) -> list[list[tuple[float, Row]]]:
    """Each page's rows with their baselines, from the top."""
    pages: list[list[tuple[float, Row]]] = [[]]
    y = float(HEIGHT - _MARGIN)
    for row in rows:
        if y - row.height < _MARGIN and pages[-1]:
            pages.append([])
            y = float(HEIGHT - _MARGIN)
        y -= row.height
        pages[-1].append((y, row))
    return pages


def _content(rows: Sequence[tuple[float, Row]]) -> bytes:
    parts = []
    for y, row in rows:
        for text in row.texts:
            x = text.x - _width(text) if text.right else text.x
            font = _WIDTHS["bold" if text.bold else "regular"]
            parts.append(
                f"BT /{font} {text.size:g} Tf {x:.2f} {y:.2f} Td (".encode() + _escaped(text.content) + b") Tj ET"
            )
        if row.rule:
            parts.append(f"0.5 w {_MARGIN} {y - 5:.2f} m {WIDTH - _MARGIN} {y - 5:.2f} l S".encode())
    return b"\n".join(parts)


def _width(text: Text) -> float:
    """Approximate width of a text, in points."""
    per_character = [_NARROW if each in " .,:" else _CAPITAL if each.isupper() else _DIGIT for each in text.content]
    return sum(per_character) * text.size


def _font(name: str) -> bytes:
    return f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>".encode()


def _escaped(text: str) -> bytes:
    if text.isascii() and text.isprintable():
        encoded = text.encode()
    else:
        encoded = "".join(_writable(each) for each in text if each.isprintable()).encode("cp1252", "replace")
    return encoded.replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def _writable(character: str) -> str:
    try:
        character.encode("cp1252")
    except UnicodeEncodeError:
        return unicodedata.normalize("NFKD", character)[0]
    return character

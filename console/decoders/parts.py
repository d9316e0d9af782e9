"""A message's bytes as parts that follow one another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start` up to `end`, with their name and their value."""

    name: str
    start: int
    end: int
    meaning: str = ""


class CutOffError(ValueError):
    """The bytes that are kept end within a part."""


class Reader:
    """Takes parts from the beginning of some bytes, one after the other."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0
        self.parts: list[Part] = []

    @property
    def rest(self) -> bytes:
        return self.content[self.at :]

    def take(self, size: int, name: str, meaning: str = "") -> bytes:
        """The next `size` bytes, as a part. Raises `CutOffError` when there are fewer; what there is becomes one.

        A negative size comes of lengths that contradict each other, and is no better than one that is too long.
        """
        taken = self.content[self.at : self.at + size] if size >= 0 else b""
        if len(taken) != size:
            self.end(name, "cut off")
            raise CutOffError(name)
        if size:
            self.parts.append(Part(name, self.at, self.at + size, meaning))
        self.at += size
        return taken

    def number(self, size: int, name: str, meaning: str = "{}") -> int:
        """An unsigned integer in network byte order, as a part; its meaning shows it."""
        value = int.from_bytes(self.content[self.at : self.at + size], "big")
        self.take(size, name, meaning.format(value))
        return value

    def text(self, size: int, name: str) -> str:
        """A text in UTF-8, as a part whose meaning it is."""
        shown = readable(self.content[self.at : self.at + size])
        self.take(size, name, shown)
        return shown

    def end(self, name: str, meaning: str = "") -> None:
        """All that is left, as one part."""
        if self.at < len(self.content):
            self.parts.append(Part(name, self.at, len(self.content), meaning))
            self.at = len(self.content)


def writable(meaning: Any, content: bytes) -> Any:
    """The meaning, or the content as text where no JSON could be written of it.

    A message's sender decides what it means, and orjson reads more than it writes: it writes 254 levels, and no
    half of a surrogate pair.
    """
    try:
        orjson.dumps([[[[[[[[meaning]]]]]]]])  # with room for the levels that an answer has around it
    except TypeError:
        return content.decode(errors="replace")
    return meaning


def lines(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Each line with its bytes from and to, its end included in those and not in the line."""
    start = 0
    while start < len(content):
        found = content.find(b"\n", start)
        end = len(content) if found < 0 else found + 1
        yield start, end, content[start:end].rstrip(b"\r\n")
        start = end


def readable(data: bytes, limit: int = 200) -> str:
    """Bytes as a short text."""
    text = data[: limit * 4].decode(errors="replace")
    return text if len(text) <= limit else text[:limit] + "…"

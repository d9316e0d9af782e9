"""Messages that carry a piece of a file."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message


class Chunks:
    """Messages whose field `data` has at most `size` bytes.

    A full one is copied once when it is written, and not at all when it is read; protobuf copies it three times.
    """

    def __init__(self, kind: type[Message], size: int) -> None:
        self._kind = kind
        self._size = size
        # How every full message begins.
        self._head = kind(data=bytes(size)).SerializeToString()[:-size]

    def write(self, parts: Sequence[bytes | memoryview]) -> bytes:
        """The message with these bytes."""
        if sum(map(len, parts)) == self._size:
            return b"".join((self._head, *parts))
        return self._kind(data=b"".join(parts)).SerializeToString()

    def read(self, message: bytes) -> Message | memoryview:
        """A message; of a full one only its data, uncopied."""
        if len(message) == len(self._head) + self._size and message.startswith(self._head):
            return memoryview(message)[len(self._head) :]
        return self._kind.FromString(message)

"""The ports of the use cases."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from services.storage.domain import Content, StoredFile
from services.storage.invoices.invoice import Invoice


class FileStore(Protocol):
    """The metadata of each file."""

    async def add(self, file: StoredFile) -> None:
        """Add a file, unless there is one with its id."""

    async def by_id(self, file_id: str) -> StoredFile | None: ...

    async def kept(self, digests: Sequence[str]) -> set[str]:
        """The digests that some file has."""


class Upload(Protocol):
    """A content that is being received."""

    @property
    def size(self) -> int:
        """Number of bytes written so far."""

    async def write(self, piece: bytes) -> None:
        """Take a piece, no faster than the disk does."""

    async def content(self) -> Content:
        """All that was given, once it has been written."""

    async def keep(self) -> None:
        """Keep all of it, durably: it can be read from now on, also after the machine has lost its power.

        Until the block ends no `sweep` takes it away, so that there is time to make it known.
        """


class ContentStore(Protocol):
    """The bytes. A content that is kept twice is there once."""

    def new_upload(self) -> AbstractAsyncContextManager[Upload]:
        """Receive a content; nothing remains of one that was not kept when the block ends."""

    def read(self, content: Content, start: int, length: int) -> AsyncGenerator[bytes, None]:
        """Exactly `length` bytes from `start`, piece by piece, no faster than they are taken."""

    async def sweep(self, kept: Callable[[Sequence[str]], Awaitable[set[str]]]) -> int:
        """Remove the contents whose digests are not among those `kept`; returns how many there were."""


class PaidOrders(Protocol):
    async def invoice(self, order_id: str, payment_id: str, paid_at: datetime) -> Invoice:
        """The invoice data of a paid order. Raises NOT_FOUND."""

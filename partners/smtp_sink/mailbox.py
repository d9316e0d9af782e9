"""The mails that were received: one .eml file each, on the disk before the sender is told that it was taken."""

from __future__ import annotations

import asyncio
import hashlib
import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.parser import BytesHeaderParser
from pathlib import Path

_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Received:
    """What the list shows of a mail. `message_id` is without its angle brackets."""

    message_id: str
    to: str
    subject: str
    order_id: str
    kind: str
    received_at: datetime


class Mailbox:
    """A folder of mails, known by their Message-ID.

    SMTP cannot deliver exactly once: when the answer to a mail is lost, the sender can only send it again. A
    Message-ID that is the same for every repeat is how the receiver can tell (RFC 5322, 3.6.4: one id, one message),
    so a mail whose id is here already is taken and not kept a second time.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        # Oldest first.
        self._mails: dict[str, Received] = {}

    @classmethod
    def open(cls, folder: Path, *, keep: int) -> Mailbox:
        """The mailbox in a folder, with what it held before. Blocks on the disk."""
        folder.mkdir(parents=True, exist_ok=True)
        mailbox = cls(folder, keep=keep)
        for leftover in folder.glob(f"*{_UNFINISHED}"):
            leftover.unlink()
        for path in sorted(folder.glob("*.eml"), key=lambda path: path.stat().st_mtime_ns):
            received_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            mail = _described(path.read_bytes(), received_at)
            mailbox._mails[mail.message_id] = mail
        return mailbox

    async def add(self, content: bytes) -> None:
        """Keep a mail durably, unless it is a repeat. Raises `OSError` when it cannot be written."""
        mail = _described(content, datetime.now(UTC))
        if mail.message_id in self._mails:
            return
        await asyncio.to_thread(_write, self._path(mail.message_id), content)
        self._mails.setdefault(mail.message_id, mail)
        while len(self._mails) > self._keep:
            oldest = next(iter(self._mails))
            del self._mails[oldest]
            self._path(oldest).unlink(missing_ok=True)

    def newest_first(self, *, order_id: str = "") -> list[Received]:
        """All mails, or those about one order."""
        return [mail for mail in reversed(self._mails.values()) if not order_id or mail.order_id == order_id]

    async def content(self, message_id: str) -> bytes | None:
        """A mail as it was received, None when there is none with this id."""
        known = message_id.strip("<>")
        return await asyncio.to_thread(self._path(known).read_bytes) if known in self._mails else None

    def _path(self, message_id: str) -> Path:
        # Hashed: an id is whatever a sender says, and a file name must not be.
        return self._folder / f"{hashlib.sha256(message_id.encode()).hexdigest()[:32]}.eml"


def _described(content: bytes, received_at: datetime) -> Received:
    headers = BytesHeaderParser(policy=policy.default).parsebytes(content)
    message_id = str(headers.get("Message-ID", "")).strip().strip("<>")
    return Received(
        message_id=message_id or f"{hashlib.sha256(content).hexdigest()}@smtp-sink.test",
        to=str(headers.get("To", "")),
        subject=str(headers.get("Subject", "")),
        order_id=str(headers.get("X-Shop-Order-Id", "")),
        kind=str(headers.get("X-Shop-Mail-Kind", "")),
        received_at=received_at,
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it is there completely or not at all."""
    unfinished = path.with_name(f"{path.stem}-{uuid.uuid4().hex}{_UNFINISHED}")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name too, not only the content
    finally:
        os.close(folder)

"""The mails that were received: one .eml file each, on the disk before SMTP acknowledges it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from pathlib import Path
from weakref import WeakValueDictionary

from chassis import wall_clock
from partners.smtp_sink.envelope import opened, sealed

_UNFINISHED = ".unfinished"


@dataclass(frozen=True, slots=True)
class Received:
    """List entry of a mail. `message_id` is without its angle brackets.

    `to` is what the mail says of itself, `recipients` is its envelope's.
    """

    message_id: str
    to: str
    subject: str
    order_id: str
    kind: str
    received_at: datetime
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """Number of mails: the limit, those kept, and those deleted to stay below it, the last of them from when."""

    keeps: int
    kept: int
    forgotten: int
    forgotten_until: datetime | None


class Mailbox:
    """A folder of mails, known by their Message-ID.

    SMTP cannot deliver exactly once: when the answer to a mail is lost, the sender can only send it again. A
    Message-ID that is the same for every repeat shows the receiver a repeat (RFC 5322, 3.6.4: one id, one message),
    so a mail whose id is here already is taken and not kept a second time. If it is for others, these are noted.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        # By the file's name, with the time at which it was written; oldest first.
        self._mails: dict[str, tuple[int, Received]] = {}
        # One for each mail that is being written, by its file's name.
        self._adding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._deleting = asyncio.Lock()
        self._forgotten = 0
        self._forgotten_until: datetime | None = None

    @classmethod
    def open(cls, folder: Path, *, keep: int) -> Mailbox:
        """The mailbox in a folder, with what it held before. Blocks on the disk."""
        folder.mkdir(parents=True, exist_ok=True)
        mailbox = cls(folder, keep=keep)
        for leftover in folder.glob(f"*{_UNFINISHED}"):
            leftover.unlink()
        mailbox._mails = mailbox._on_disk({})
        if mailbox._notes.exists():
            notes = json.loads(mailbox._notes.read_bytes())
            mailbox._forgotten = notes["forgotten"]
            mailbox._forgotten_until = datetime.fromisoformat(notes["until"])
        return mailbox

    async def add(self, content: bytes, recipients: Sequence[str]) -> None:
        """Keep a mail durably, unless it is a repeat. Raises `OSError` when it cannot be written."""
        mail = _described(content, tuple(recipients), wall_clock.now())
        name = self._path(mail.message_id).name
        async with self._adding.setdefault(name, asyncio.Lock()):
            await self._add(content, mail)
        # Not within: deleting waits for the names of others, each of which may be waiting to delete.
        if len(self._mails) > self._keep:
            async with self._deleting:
                await self._forget(list(self._mails)[: max(0, len(self._mails) - self._keep)])

    async def _add(self, content: bytes, mail: Received) -> None:
        path, recipients = self._path(mail.message_id), mail.recipients
        if path.name in self._mails:
            known = self._mails[path.name][1].recipients
            recipients = tuple(dict.fromkeys((*known, *recipients)))
            if recipients == known:
                return
            mail = replace(mail, recipients=recipients)
            content = await self.content(mail.message_id) or content
        await asyncio.to_thread(_write, path, sealed(content, recipients))
        self._mails[path.name] = (path.stat().st_mtime_ns, mail)

    async def _forget(self, oldest: Sequence[str]) -> None:
        """Delete mails, once the disk has their number: a deleted mail is never taken for one that never arrived."""
        if not oldest:
            return
        forgotten, until = self._forgotten + len(oldest), self._mails[oldest[-1]][1].received_at
        notes = {"forgotten": forgotten, "until": until.isoformat()}
        await asyncio.to_thread(_write, self._notes, json.dumps(notes).encode())
        self._forgotten, self._forgotten_until = forgotten, until
        for name in oldest:
            # What is being written under this name is written before, and goes with it, or after, and stays.
            async with self._adding.setdefault(name, asyncio.Lock()):
                self._mails.pop(name, None)
                (self._folder / name).unlink(missing_ok=True)

    def extent(self) -> Extent:
        """Counts of mails that are kept and that were deleted."""
        return Extent(self._keep, len(self._mails), self._forgotten, self._forgotten_until)

    async def newest_first(self, *, order_id: str | None = None) -> list[Received]:
        """All mails, or those about one order, as they lie in the folder now."""
        async with self._deleting:
            known = dict(self._mails)
            found = await asyncio.to_thread(self._on_disk, known)
            # What was added meanwhile is newer than what was read.
            added = {name: kept for name, kept in self._mails.items() if kept is not known.get(name)}
            self._mails = dict(sorted({**found, **added}.items(), key=lambda named: named[1][0]))
        mails = (mail for _, mail in reversed(self._mails.values()))
        return [mail for mail in mails if order_id is None or mail.order_id == order_id]

    async def content(self, message_id: str) -> bytes | None:
        """A mail as it was received, None when there is none with this id."""
        path = self._path(message_id.strip("<>"))
        try:
            return opened(await asyncio.to_thread(path.read_bytes))[1]
        except FileNotFoundError:
            return None

    def _on_disk(self, known: Mapping[str, tuple[int, Received]]) -> dict[str, tuple[int, Received]]:
        """The folder's mails, oldest first; only those files are read that are not as they were."""
        found = {}
        for path in sorted(self._folder.glob("*.eml"), key=_written_at):
            written_at = _written_at(path)
            if path.name in known and known[path.name][0] == written_at:
                found[path.name] = known[path.name]
            elif written_at:
                received_at = datetime.fromtimestamp(written_at / 1e9, UTC)
                recipients, content = opened(path.read_bytes())
                found[path.name] = (written_at, _described(content, recipients, received_at))
        return found

    @property
    def _notes(self) -> Path:
        return self._folder / "forgotten.json"

    def _path(self, message_id: str) -> Path:
        # Hashed: an id is chosen by a sender, and a file name must not be.
        return self._folder / f"{hashlib.sha256(message_id.encode()).hexdigest()[:32]}.eml"


def _written_at(path: Path) -> int:
    """Nanoseconds since the epoch; 0 for a file that has just gone."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _described(content: bytes, recipients: tuple[str, ...], received_at: datetime) -> Received:
    # As they were sent: the parsed ones take a millisecond. Of a repeated header the first one counts.
    sent = list(BytesHeaderParser().parsebytes(content).raw_items())
    headers = {name.lower(): _unfolded(raw) for name, raw in reversed(sent)}
    message_id = _text(headers, "Message-ID").strip().strip("<>")
    return Received(
        message_id=message_id or f"{hashlib.sha256(content).hexdigest()}@smtp-sink.test",
        to=_text(headers, "To"),
        subject=_text(headers, "Subject"),
        order_id=_text(headers, "X-Shop-Order-Id"),
        kind=_text(headers, "X-Shop-Mail-Kind"),
        received_at=received_at,
        recipients=recipients,
    )


def _text(headers: Mapping[str, str], name: str) -> str:
    """A header as one line of text, encoded words decoded (RFC 2047); empty where it is missing.

    Words that cannot be decoded stay as they were sent, as in every mail program (section 6.3).
    """
    sent = headers.get(name.lower(), "")
    try:
        # A word may hold half of a surrogate pair, which is no text that could be sent on.
        return str(make_header(decode_header(sent))).encode("utf-8", "replace").decode()
    except (HeaderParseError, LookupError, ValueError):
        return sent


def _unfolded(raw: str) -> str:
    """A header's value as it was sent, in one line; what is not ASCII is UTF-8 (RFC 6532)."""
    return "".join(raw.splitlines()).encode("ascii", "surrogateescape").decode("utf-8", "replace")


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

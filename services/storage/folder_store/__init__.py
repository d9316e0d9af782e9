"""Contents in a folder, each in one file named by its own digest.

`ab/ab12…` holds the content whose SHA-256 is ab12…; `incoming/` what is still arriving. The folder itself is the lock
between writers of a content that is not recorded yet (shared), and sweeps (exclusive). All disk work
is done in threads, and each piece of it is complete in itself, so that a caller may vanish between any two of them.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from services.storage.domain import Content, no_room, not_writable
from services.storage.partial_upload import PartialUpload, locked

log = logging.getLogger(__name__)

# Bytes of a piece of a download. A process holds several of them for each reader, and a reader that has stopped may
# cost it 256 KiB.
READ_SIZE = 16 << 10
# Between two tries to get the lock of all contents.
_POLL_SECONDS = 0.01
# The names of the folders of contents, and of a content.
_CONTENTS, _CONTENT = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{64}")
_MAX_NAMED = 10
# The operating system's errors when there is no room: of the disk, of a quota, of a limit on files.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


def disk_errors_translated(
    work: Callable[_Params, Coroutine[None, None, _Result]],
) -> Callable[_Params, Coroutine[None, None, _Result]]:
    """Make an error of the disk one that a client may see: INSUFFICIENT_STORAGE or STORE_UNAVAILABLE."""

    @wraps(work)
    async def translated(*args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
        try:
            return await work(*args, **kwargs)
        except OSError as error:
            log.warning("file store: write failed", extra={"reason": str(error)})
            raise (no_room() if error.errno in _NO_ROOM else not_writable()) from error

    return translated


class FolderStore:
    """Store whose every piece is written by a thread as it is; the shop runs the one in `buffered.py`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._incoming = folder / "incoming"
        # Names that the previous sweep left alone, so that each is logged once.
        self._foreign: set[str] = set()

    async def prepare(self) -> None:
        """Make the folder, and sweep out what a process that died had not finished."""
        await asyncio.to_thread(self._sweep)

    def _sweep(self) -> None:
        self._incoming.mkdir(parents=True, exist_ok=True)
        # All at once: what is put into one that is not durable could be lost with it.
        try:
            for number in range(256):
                (self._folder / f"{number:02x}").mkdir(exist_ok=True)
            _fsync_folder(self._folder)
        except OSError as error:
            # On a full disk, what is there can be read; the rest is made when it is needed.
            log.warning("storage: folders could not be created", extra={"reason": str(error)})
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError), path.open("rb") as file:
                if locked(file.fileno()):  # else it is arriving at another process right now
                    path.unlink(missing_ok=True)

    async def sweep(self, kept: Callable[[Sequence[str]], Awaitable[set[str]]]) -> int:
        swept = 0
        foreign: list[str] = []
        loop = asyncio.get_running_loop()
        # A thread of its own: the shared ones may all be taken by uploads that wait for the lock held here.
        with ThreadPoolExecutor(1, "sweep") as thread:
            folders, strangers = await loop.run_in_executor(thread, self._subfolders)
            foreign += strangers
            for folder in folders:
                # One of 256 at a time, so that a request that keeps a content does not wait for long.
                lock = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    # No thread waits for it: it could not be left while an upload needs this loop to end.
                    while not locked(lock):  # noqa: ASYNC110 - a file lock raises no event
                        await asyncio.sleep(_POLL_SECONDS)
                    names, others = await loop.run_in_executor(
                        thread, _sorted_out, folder, _CONTENT, os.DirEntry.is_file
                    )
                    foreign += (f"{folder.name}/{name}" for name in others)
                    unknown = set(names) - await kept(names) if names else set()
                    for name in unknown:
                        await loop.run_in_executor(thread, (folder / name).unlink)
                    swept += len(unknown)
                finally:
                    os.close(lock)
        self._log_foreign(foreign)
        return swept

    def _subfolders(self) -> tuple[list[Path], list[str]]:
        """The folders of contents, and the names of what else is there."""
        ours, others = _sorted_out(self._folder, _CONTENTS, os.DirEntry.is_dir)
        return [self._folder / name for name in ours], [name for name in others if name != self._incoming.name]

    def _log_foreign(self, foreign: Sequence[str]) -> None:
        """Log what is not ours, each once: it is left where it is."""
        if new := sorted(set(foreign) - self._foreign):
            shown = ", ".join(new[:_MAX_NAMED])
            log.warning("storage: unknown paths, not deleted", extra={"paths": shown, "count": len(new)})
        self._foreign = set(foreign)

    @asynccontextmanager
    async def new_upload(self) -> AsyncIterator[FolderUpload]:
        upload = self._upload()
        try:
            yield upload
        finally:
            # Shielded: a caller who gives up twice would leave the file behind.
            await asyncio.shield(upload.discard())

    def _upload(self) -> FolderUpload:
        return FolderUpload(self._incoming, self._folder)

    async def read(self, content: Content, start: int, length: int) -> AsyncGenerator[bytes, None]:
        path = _path(self._folder, content.sha256)
        end = start + length
        # For memory, not speed: pieces allocated in threads, each with its own heap, cost 190 KiB a stopped reader.
        buffer = memoryview(bytearray(min(READ_SIZE, length)))
        while start < end:
            # Opened for each piece: a reader that pauses holds no descriptor.
            count = await asyncio.to_thread(_read, path, start, buffer[: end - start])
            start += count
            yield bytes(buffer[:count])


class FolderUpload:
    """Upload whose pieces a thread hashes and writes as they arrive."""

    def __init__(self, incoming: Path, folder: Path) -> None:
        self._incoming = incoming
        self._folder = folder
        self._size = 0
        self._digest = hashlib.sha256()
        self._content: Content | None = None
        self._file: PartialUpload | None = None
        self._under_way: asyncio.Future[None] | None = None
        self._folder_lock = -1
        self._kept = False

    @property
    def size(self) -> int:
        return self._size

    @disk_errors_translated
    async def write(self, piece: bytes) -> None:
        self._size += len(piece)
        await self._in_thread(partial(self._write, piece))

    @disk_errors_translated
    async def content(self) -> Content:
        if self._content is None:
            await self._in_thread(self._finish)
            self._content = Content(self._digest.hexdigest(), self._size)
        return self._content

    @disk_errors_translated
    async def keep(self) -> None:
        await self._in_thread(partial(self._keep, await self.content()))

    async def discard(self) -> None:
        """Close the file, and remove it unless it was kept; from now on a sweep may."""
        with suppress(OSError):
            await self._turn()
        if self._kept:
            self._close()  # nothing is left to be removed, so that nothing waits for the disk
        else:
            await asyncio.to_thread(self._discard)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Do this work once what was begun before has ended."""
        await self._turn()
        self._begin(work)
        await self._turn()

    def _begin(self, work: Callable[[], None]) -> None:
        self._under_way = asyncio.get_running_loop().run_in_executor(None, work)

    async def _turn(self) -> None:
        """Wait until what was begun has ended."""
        if self._under_way is not None:
            # Shielded: what a thread has begun, it ends; a discard has to come after it.
            await asyncio.shield(self._under_way)

    def _write(self, piece: bytes | memoryview) -> None:
        self._digest.update(piece)
        self._opened().write(piece)

    def _finish(self) -> None:
        self._opened().finish()

    def _keep(self, content: Content) -> None:
        self._folder_lock = _folder_lock(self._folder, fcntl.LOCK_SH)
        target = _path(self._folder, content.sha256)
        if not target.parent.exists():  # removed by hand since the start
            target.parent.mkdir(exist_ok=True)
            _fsync_folder(self._folder)
        # Also over the same content: that costs nothing and mends one that the disk has damaged.
        self._opened().path.replace(target)
        _fsync_folder(target.parent)
        self._kept = True

    def _discard(self) -> None:
        self._close()
        if self._file is not None:
            self._file.path.unlink(missing_ok=True)

    def _close(self) -> None:
        """Give back both locks."""
        if self._folder_lock >= 0:
            os.close(self._folder_lock)
        if self._file is not None:
            self._file.close()

    def _opened(self) -> PartialUpload:
        """The file, made when it is first needed."""
        if self._file is None:
            self._file = PartialUpload(self._incoming)
        return self._file


def _path(folder: Path, sha256: str) -> Path:
    return folder / sha256[:2] / sha256


def _sorted_out(
    folder: Path, form: re.Pattern[str], kind: Callable[[os.DirEntry[str]], bool]
) -> tuple[list[str], list[str]]:
    """The names in a folder that have this form and are of this kind, and the others."""
    ours: list[str] = []
    others: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            (ours if form.fullmatch(entry.name) and kind(entry) else others).append(entry.name)
    return ours, others


def _read(path: Path, start: int, buffer: memoryview) -> int:
    """Read the file into the buffer; returns how many bytes. Raises `EOFError` for none."""
    with path.open("rb", buffering=0) as file:
        count = os.preadv(file.fileno(), [buffer], start)
    if not count:
        message = f"{path} ends before byte {start}"
        raise EOFError(message)
    return count


def _fsync_folder(folder: Path) -> None:
    """Make the folder's entries durable: a rename is on the disk only when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder_lock(folder: Path, kind: int) -> int:
    """A lock on a folder, held until the descriptor is closed; waits for it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, kind)
    return descriptor

"""Peers: how the processes that share the broker file notify one another, and notice that one has died.

Each subscribed process keeps one named pipe in `<file>.sessions/` open for reading. Opening a pipe for writing without
blocking fails with ENXIO when no process reads it: so the call that notifies a peer also shows whether it is
alive, however it died, and no file needs to be locked or refreshed. (Unix sockets would do too, were their paths not
limited to about 100 bytes.) A message holds the names of the changed queues, so that peers check only those.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

_NEW = ".new"
_READ_SIZE = 1 << 16
# A reader of that much may have missed notifications that found the pipe full: its least size is a page.
_FULL = 1 << 11


class Session:
    """A process's own pipe. `name` is unique for ever."""

    def __init__(self, folder: Path, notify: Callable[[frozenset[str] | None], None]) -> None:
        """`notify` gets what has changed; None when that may be anything."""
        folder.mkdir(parents=True, exist_ok=True)
        self.name = uuid4().hex
        self._path = folder / self.name
        # It takes its name only once it has a reader; before, it would look like a dead peer's.
        new = folder / (self.name + _NEW)
        os.mkfifo(new, 0o600)
        # Opened for writing as well, or the pipe would report its end whenever the last writer has gone.
        self._pipe = os.open(new, os.O_RDWR | os.O_NONBLOCK)
        new.rename(self._path)
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._notified)

    def _notified(self) -> None:
        read = b""
        with contextlib.suppress(BlockingIOError):
            read = os.read(self._pipe, _READ_SIZE)
        self._notify(None if len(read) >= _FULL else frozenset(read.decode().split()))

    def close(self) -> None:
        """Stop listening and disappear."""
        self._loop.remove_reader(self._pipe)
        self._path.unlink(missing_ok=True)
        os.close(self._pipe)


class PeerNotifier:
    """Notifies the live sessions of a folder, by pipes that stay open: to open one takes longer than to write into it.

    Belongs to one thread.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pipes: dict[str, int] = {}

    def notify(self, news: frozenset[str], *, but: str = "") -> None:
        """Notify every session except one of what has changed. Raises `OSError`; then some may not be notified."""
        message = " ".join([*news, ""]).encode()
        names = _names(self._folder)
        for name in self._pipes.keys() - names:
            self._forget(name)
        for name in names:
            if name != but:
                self._write(name, message)

    def _write(self, name: str, message: bytes) -> None:
        pipe = self._pipes.get(name)
        if pipe is None:
            pipe = _opened(self._folder / name)
            if pipe is None:
                return  # its owner has died
            self._pipes[name] = pipe
        try:
            os.write(pipe, message)
        except BlockingIOError:
            pass  # full: a notification is pending
        except BrokenPipeError:
            self._forget(name)

    def _forget(self, name: str) -> None:
        os.close(self._pipes.pop(name))

    def close(self) -> None:
        for name in tuple(self._pipes):
            self._forget(name)


def living(folder: Path) -> tuple[set[str], set[str]]:
    """The names of the sessions that are alive, and of those whose owner has died."""
    alive: set[str] = set()
    dead: set[str] = set()
    for name in _names(folder):
        (alive if _is_read(folder / name) else dead).add(name)
    return alive, dead


def remove_ended(folder: Path, dead: set[str]) -> None:
    """Remove the pipes of dead sessions."""
    for name in dead:
        (folder / name).unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.endswith(_NEW)]  # noqa: PTH208 - names are all we need
    except FileNotFoundError:
        return []


def _opened(path: Path) -> int | None:
    """A pipe, open for writing; None where no process reads it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENOENT}:
            return None
        raise


def _is_read(path: Path) -> bool:
    pipe = _opened(path)
    if pipe is not None:
        os.close(pipe)
    return pipe is not None

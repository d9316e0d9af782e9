"""Peers: how the processes that share the broker file notify one another, and notice that one has died.

Each subscribed process keeps one named pipe in `<file>.sessions/` open for reading. Opening a pipe for writing without
blocking fails with ENXIO when no process reads it: so the call that notifies a neighbour also shows whether it is
alive, however it died, and no file needs to be locked or refreshed. (Unix sockets would do too, were their paths not
limited to about 100 bytes.) The datagram holds the names of the changed queues, so that no peer looks where nothing is
new.
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
        # It takes its name only once it has a reader; before, it would look like a dead neighbour's.
        new = folder / (self.name + _NEW)
        os.mkfifo(new, 0o600)
        # Opened for writing as well, or the pipe would report its end whenever the last writer has gone.
        self._pipe = os.open(new, os.O_RDWR | os.O_NONBLOCK)
        new.rename(self._path)
        self._notify = notify
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._rung)

    def _rung(self) -> None:
        read = b""
        with contextlib.suppress(BlockingIOError):
            read = os.read(self._pipe, _READ_SIZE)
        self._notify(None if len(read) >= _FULL else frozenset(read.decode().split()))

    def close(self) -> None:
        """Stop listening and disappear."""
        self._loop.remove_reader(self._pipe)
        self._path.unlink(missing_ok=True)
        os.close(self._pipe)


def notify(folder: Path, news: frozenset[str], *, but: str = "") -> None:
    """Notify every live session of the folder except one of what has changed."""
    message = " ".join([*news, ""]).encode()
    for name in _names(folder):
        if name != but:
            _knock(folder / name, message)


def living(folder: Path) -> tuple[set[str], set[str]]:
    """The names of the sessions that are alive, and of those whose owner has died."""
    alive: set[str] = set()
    dead: set[str] = set()
    for name in _names(folder):
        (alive if _knock(folder / name, b"") else dead).add(name)
    return alive, dead


def remove_ended(folder: Path, dead: set[str]) -> None:
    """Remove the pipes of dead sessions."""
    for name in dead:
        (folder / name).unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if path.suffix != _NEW]
    except FileNotFoundError:
        return []


def _knock(path: Path, message: bytes) -> bool:
    """Write into a pipe; whether a reader has it open."""
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENOENT}:
            return False
        raise
    try:
        if message:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):  # full: it has been rung already
                os.write(pipe, message)
    finally:
        os.close(pipe)
    return True

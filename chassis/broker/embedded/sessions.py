"""How the processes that share the file wake one another, and notice that one of them has died.

Each subscribed process keeps one named pipe in `<file>.sessions/` open for reading. Opening a pipe for writing without
blocking fails with ENXIO when nobody reads it: so the same call that rings a neighbour's bell tells whether the
neighbour is alive, however it died, and no file needs to be locked or refreshed. (Unix sockets would do too, were
their paths not limited to about 100 bytes.)
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


class Session:
    """A process's own pipe. `name` is unique for ever."""

    def __init__(self, folder: Path, ring: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = uuid4().hex
        self._path = folder / self.name
        # It takes its name only once it has a reader; before, it would look like a dead neighbour's.
        new = folder / (self.name + _NEW)
        os.mkfifo(new, 0o600)
        # Opened for writing as well, or the pipe would report its end whenever the last writer has gone.
        self._pipe = os.open(new, os.O_RDWR | os.O_NONBLOCK)
        new.rename(self._path)
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._rung)

    def _rung(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipe, 4096)
        self._ring()

    def close(self) -> None:
        """Stop listening and disappear."""
        self._loop.remove_reader(self._pipe)
        self._path.unlink(missing_ok=True)
        os.close(self._pipe)


def ring(folder: Path, *, but: str = "") -> None:
    """Wake every live session of the folder except one."""
    for name in _names(folder):
        if name != but:
            _knock(folder / name, b"!")


def living(folder: Path) -> tuple[set[str], set[str]]:
    """The names of the sessions that are alive, and of those whose owner has died."""
    alive: set[str] = set()
    dead: set[str] = set()
    for name in _names(folder):
        (alive if _knock(folder / name, b"") else dead).add(name)
    return alive, dead


def bury(folder: Path, dead: set[str]) -> None:
    """Remove the pipes of dead sessions."""
    for name in dead:
        (folder / name).unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir() if path.suffix != _NEW]
    except FileNotFoundError:
        return []


def _knock(path: Path, message: bytes) -> bool:
    """Write into a pipe; whether anybody has it open."""
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

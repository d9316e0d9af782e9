"""The process that listens on a port, as far as this user may see it (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LISTENING = "0A"


def holder(port: int) -> str:
    """The end of a sentence: by which process; empty where it cannot be found."""
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not sockets:
        return ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if sockets.intersection(_open_files(process)):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f" by process {process.name} ({command[:60]})"
        except OSError:  # it is another user's, or has ended meanwhile
            continue
    return " by another user's process"


def _open_files(process: Path) -> Iterator[str]:
    """The files of its descriptors. Raises `OSError` where they cannot be read, or cannot be read any more."""
    with os.scandir(process / "fd") as links:
        for link in links:
            with suppress(FileNotFoundError):  # it was closed meanwhile
                yield str(Path(link.path).readlink())


def _inodes(port: int) -> set[str]:
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            rows = [line.split() for line in table.read_text("ascii").splitlines()[1:]]
            found |= {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    return found

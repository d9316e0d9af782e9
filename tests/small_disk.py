"""A disk that is really full: a small file system of its own, which a test fills to the last byte."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

# The last byte is found by halves.
_PIECES = (64 << 10, 4 << 10, 1)


@dataclass(frozen=True)
class SmallDisk:
    """A file system that only the processes in its namespaces have at `place`. Others reach it at `from_outside`.

    SQLite, which resolves links by itself, has to run inside.
    """

    place: Path
    from_outside: Path
    enter: tuple[str, ...]


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[SmallDisk]:
    """A file system of `size` bytes, mounted by another process in namespaces of its own.

    Skips the test, and says why, where nothing may be mounted.
    """
    if not Path("/proc/self/ns/mnt").exists():
        pytest.skip("not run: needs mount namespaces (Linux)")
    place.mkdir()
    mount = f'mount -t tmpfs -o size={size} none "$0" && echo mounted && read _'
    try:
        holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", mount, str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("not run: needs unshare (util-linux)")
    with holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "mounted\n":
            _, said = holder.communicate()
            pytest.skip(f"not run: no file system may be mounted here ({said.strip()})")
        try:
            enter = (
                "nsenter",
                f"--target={holder.pid}",
                "--user",
                "--mount",
                "--preserve-credentials",
                f"--wd={Path.cwd()}",
            )
            yield SmallDisk(place, Path(f"/proc/{holder.pid}/root{place}"), enter)
        finally:
            holder.communicate("\n")


@dataclass(frozen=True)
class Filler:
    """A file that takes all the room that is left."""

    path: Path

    def grow(self) -> None:
        """Take what is free, to the last byte; again, when something has been given back meanwhile."""
        with self.path.open("ab", buffering=0) as file:
            for piece in _PIECES:
                with suppress(OSError):
                    while file.write(b"x" * piece) == piece:
                        pass

    def free(self) -> None:
        self.path.unlink()

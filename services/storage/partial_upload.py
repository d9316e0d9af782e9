"""A partial upload: written from its beginning to its end, on disk once it is finished.

All of it blocks, and belongs in a thread.
"""

from __future__ import annotations

import fcntl
import os
import sys
import uuid
from contextlib import suppress
from pathlib import Path

# Bytes of a file that may stay in the operating system's cache while the rest arrives.
_CACHED = 32 << 20


class PartialUpload:
    """A new file in a folder, locked for as long as this process lives and writes it."""

    def __init__(self, folder: Path) -> None:
        while True:
            self.path = folder / uuid.uuid4().hex
            self._descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
            if locked(self._descriptor) and os.fstat(self._descriptor).st_nlink:
                break
            # A sweep has found it before it was locked.
            os.close(self._descriptor)
        self._size = 0

    def write(self, block: memoryview) -> None:
        """Append bytes. Raises `OSError` when the disk does not take them."""
        rest = block
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._size += len(block)
        self._begin_to_synchronize()

    def finish(self) -> None:
        """Have all of it on the disk, durably."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Give back the lock."""
        os.close(self._descriptor)

    def _begin_to_synchronize(self) -> None:
        """Have the disk begin now, while the next bytes arrive: so the fsync at the end is short.

        On Linux that is what comes of the advice that the bytes are not needed any more; those that are on the disk
        already leave the cache, and a large upload does not push everything else out of it. It is only advice: where
        the kernel does not take it, fsync does all the work.
        """
        if sys.platform == "linux":
            start = max(0, self._size - _CACHED)
            with suppress(OSError):
                os.posix_fadvise(self._descriptor, start, self._size - start, os.POSIX_FADV_DONTNEED)


def locked(descriptor: int) -> bool:
    """Whether the file could be locked; it stays so until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""A partial upload: written from its beginning to its end, on disk once it is finished.

All of it blocks, and belongs in a thread.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from pathlib import Path


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

    def fileno(self) -> int:
        return self._descriptor

    def write(self, rest: bytes | memoryview) -> None:
        """Append bytes. Raises `OSError` when the disk does not take them."""
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Have all of it on the disk, durably."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Give back the lock."""
        os.close(self._descriptor)


def locked(descriptor: int) -> bool:
    """Whether the file could be locked; it stays so until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

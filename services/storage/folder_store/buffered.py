"""A folder store with double buffering and an early flush to the disk, which takes large files faster.

The bar of `make bench-internal` is 60 % of a bare stream's rate; docs/performance.md ("Inside") has the figures.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

from services.storage.folder_store import FolderStore, FolderUpload, disk_errors_translated

# What is hashed and written at once. Handing over to a thread costs, so not less; an upload holds two in memory, so not
# more.
BLOCK = 2 << 20
# Bytes of a file that may stay in the operating system's cache while the rest arrives.
_CACHED = 32 << 20


class BufferedFolderStore(FolderStore):
    def _upload(self) -> FolderUpload:
        return BufferedUpload(self._incoming, self._folder)


class BufferedUpload(FolderUpload):
    """A thread hashes and writes one block while the next one arrives.

    The same two blocks take turns: what new memory costs is more than copying what arrives into memory that is there.
    """

    def __init__(self, incoming: Path, folder: Path) -> None:
        super().__init__(incoming, folder)
        self._block, self._other = BytesIO(), BytesIO()

    @disk_errors_translated
    async def write(self, piece: bytes) -> None:
        self._size += len(piece)
        self._block.write(piece)
        if self._block.tell() >= BLOCK:
            await self._turn()
            full = self._block
            self._block, self._other = self._other, full
            self._block.seek(0)
            self._begin(partial(self._write_block, full))

    def _write_block(self, block: BytesIO) -> None:
        # Behind its position are the bytes of a block before it.
        with block.getbuffer() as memory, memory[: block.tell()] as arrived:
            self._write(arrived)
        _start_flush(self._opened().fileno())

    def _finish(self) -> None:
        self._write_block(self._block)
        super()._finish()


def _start_flush(descriptor: int) -> None:
    """Have the disk begin now, while the next bytes arrive, so that the fsync at the end is short.

    On Linux, the advice that bytes are not needed any more does that; those that are on the disk already leave the
    cache, so that a large upload does not push everything else out of it. Where the kernel does not take the advice,
    fsync does all the work.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            start = max(0, os.fstat(descriptor).st_size - _CACHED)
            os.posix_fadvise(descriptor, start, 0, os.POSIX_FADV_DONTNEED)

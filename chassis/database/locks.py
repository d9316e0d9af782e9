"""Named locks over the processes of a machine, released when their holder dies."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

# Between two tries; each takes some microseconds.
_POLL_SECONDS = 0.005


@asynccontextmanager
async def file_lock(path: Path, *, wait: bool) -> AsyncIterator[bool]:
    """A lock on a file; yields whether it is held, which without `wait` may be False."""
    # Not `open`: what it makes around the descriptor takes five times as long as the lock.
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        held = _locked(file)
        while wait and not held:
            await asyncio.sleep(_POLL_SECONDS)
            held = _locked(file)
        yield held
    finally:
        os.close(file)  # which gives the lock back


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

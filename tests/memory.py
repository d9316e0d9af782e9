"""Memory that the process of a test keeps."""

import ctypes
import gc
import os
from pathlib import Path

import pytest

_STATM = Path("/proc/self/statm")

needs_proc = pytest.mark.skipif(not _STATM.exists(), reason="not run: needs /proc (Linux)")


def kept_memory() -> int:
    """Bytes of this process that are in memory, after what it no longer uses went back to the system.

    Without that, glibc keeps what large messages needed: tens of megabytes more or less from one look to the next.
    """
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # musl has none, and needs none
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""One shop per data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from shop.errors import Refused


def hold(data_dir: Path) -> int:
    """Lock the directory for this process and the children that inherit the returned descriptor.

    The lock ends with the last of them, however they end: no second shop starts on databases that a process of the
    first one still writes. Raises `Refused`, naming the holder's pid, while another shop has it, and
    where the directory cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Refused(
            f"the data directory {data_dir} cannot be written ({error.strerror}); choose another with SHOP_DATA_DIR "
            "(in a container of docker compose there is nothing to start: `docker compose up` runs each process)"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(descriptor, 20).decode().strip()
        os.close(descriptor)
        raise Refused(
            f"another shop is using {data_dir} (started by process {holder}, or its processes are still ending); "
            "stop it, or choose another directory with SHOP_DATA_DIR"
        ) from error
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor

"""One shop per data directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from shop.errors import Refused

FILE = "up.lock"
# Seconds that another command may have the lock, which looks whether a shop runs.
_TIMEOUT = 2.0
_POLL = 0.02


def hold(data_dir: Path) -> int:
    """Lock the directory for this process and the children that inherit the returned descriptor.

    The lock ends with the last of them, however they end: no second shop starts on databases that a process of the
    first one still writes. Raises `Refused`, naming the holder's pid, while another shop has it, and
    where the directory cannot be written.
    """
    descriptor = _opened(data_dir)
    deadline = time.monotonic() + _TIMEOUT
    while not (_locked(descriptor, fcntl.LOCK_EX) and _is_named(descriptor, data_dir)):
        if time.monotonic() < deadline:
            time.sleep(_POLL)
            os.close(descriptor)
            descriptor = _opened(data_dir)
            continue
        number = os.read(descriptor, 20).decode().strip()
        os.close(descriptor)
        raise Refused(
            f"another shop is using {data_dir} (started by process {number}, or its processes are still ending); "
            "stop it, or choose another directory with SHOP_DATA_DIR"
        )
    os.set_inheritable(descriptor, True)  # also by children that are executed
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def is_held(data_dir: Path) -> bool:
    """Whether a shop runs on the directory: its supervisor, or processes of it that are still ending.

    The lock alone shows it: after a crash or a restart of the machine another program may have the supervisor's pid.
    """
    return holder(data_dir) is not None


def holder(data_dir: Path) -> int | None:
    """The pid of the shop's supervisor, 0 in the moment before it is written; None where no shop runs."""
    try:
        descriptor = os.open(data_dir / FILE, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if _locked(descriptor, fcntl.LOCK_SH):
            return None
        return int(os.read(descriptor, 20).strip() or 0)
    finally:
        os.close(descriptor)


def _opened(data_dir: Path) -> int:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        return os.open(data_dir / FILE, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise Refused(
            f"the data directory {data_dir} cannot be written ({error.strerror}); choose another with SHOP_DATA_DIR "
            "(in a container of docker compose there is nothing to start: `docker compose up` runs each process)"
        ) from error


def _is_named(descriptor: int, data_dir: Path) -> bool:
    """Whether this is the directory's lock file still: `shop reset` may have deleted it."""
    try:
        return os.path.samestat(os.fstat(descriptor), (data_dir / FILE).stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

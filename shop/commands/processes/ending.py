"""`shop down` and `shop reset`: ends the shop of a data directory, and removes what it has kept there."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from shop.errors import Refused
from shop.process_table import TABLE
from shop.supervisor import lock
from shop.urls import data_dir

# Seconds: longer than the supervisor gives its processes before it kills them.
TIMEOUT = 30.0
_POLL = 0.05
# What processes keep in the directory. Anything else there is not a shop's, and stays: a lesson's code, for one.
# By their names: a user's own files may end in the same way.
_DATABASES = {
    "broker",
    *(spec.name for spec in TABLE),
    *(spec.entry.partition(":")[0].split(".")[-2] for spec in TABLE),
}
_STATE = (
    *(f"{name}.sqlite{more}" for name in _DATABASES for more in ("", "-*", ".*")),
    *("processes.json", "processes.json.draft", "secrets.json", "secrets.draft", lock.FILE),
    *("links.json", "links.sock", "clocks", "faults"),
    *("certs", "files", "mails"),
    "tour.log",
)


def down(env: Mapping[str, str], *, within: float = TIMEOUT) -> str:
    """End the shop that `shop up` has started; a sentence on what was done. Raises `Refused` where it does not end."""
    folder = data_dir(env)
    supervisor = lock.holder(folder)
    if supervisor == 0:
        raise Refused(f"the shop in {folder} is only starting; try again in a moment")
    if supervisor is None:
        return f"No shop is running in {folder}. (A composed shop is ended by `make down`.)"
    try:
        with suppress(ProcessLookupError):  # it was killed, and its processes are still ending
            os.kill(supervisor, signal.SIGTERM)
    except PermissionError as error:
        raise Refused(f"the shop in {folder} (process {supervisor}) is another user's: end it as that user") from error
    deadline = time.monotonic() + within
    while lock.is_held(folder):
        if time.monotonic() > deadline:
            raise Refused(f"the shop in {folder} (process {supervisor}) has not ended within {within:.0f} s")
        time.sleep(_POLL)
    return f"The shop in {folder} has ended."


def reset(env: Mapping[str, str]) -> str:
    """Remove a shop's state; a sentence on what was done. Raises `Refused` while a shop runs there."""
    folder = data_dir(env)
    if lock.is_held(folder):
        raise Refused(f'a shop is running in {folder}; end it with "shop down"')
    if not state_in(folder):
        return f"There is no state in {folder}. (A composed shop's is removed by `make down ARGS=-v`.)"
    held = lock.hold(folder)  # so that no shop starts on what is half deleted
    try:
        _remove(state_in(folder))
    finally:
        os.close(held)
    left = sorted(path.name for path in folder.iterdir())
    if not left:
        with suppress(OSError):  # a shop is starting in it by now
            folder.rmdir()
    kept = f" Not a shop's, and kept: {', '.join(left)}." if left else ""
    return f"Removed the state in {folder}.{kept} The next start loads the demo data anew."


def _remove(paths: Iterable[Path]) -> None:
    """Delete them, the lock's file last: without it a shop may start."""
    for path in sorted(paths, key=lambda path: path.name == lock.FILE):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def state_in(folder: Path) -> list[Path]:
    """The state of a shop in a folder; none where no shop was ever started."""
    if not (folder / lock.FILE).is_file():
        return []
    return sorted({path for pattern in _STATE for path in folder.glob(pattern)})

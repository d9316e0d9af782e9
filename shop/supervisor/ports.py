"""The ports of processes: their settings, and whether they are free."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from shop.errors import Refused
from shop.process_table import ProcessSpec

_HIGHEST = 65535
# Below the ports that Linux (32768) and macOS (49152) hand to outgoing connections: one of those could
# take a process's port while the process is being restarted.
_CHOICE = range(20_000, 32_000)
# Ports of one block are chosen by one program at a time: two that look for free ports at once would find the same ones.
_BLOCK = 200


def reachable(host: str) -> str:
    """The address at which to reach on this machine what listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # nosec B104 # where to connect to what listens everywhere


def assign(table: Sequence[ProcessSpec], env: Mapping[str, str], host: str) -> dict[str, int]:
    """Each port setting of the table with its port: the environment's or the default; 0 becomes a free one.

    Raises `Refused` for a value that is no port and for a port that is assigned twice.
    """
    ports: dict[str, int] = {}
    for port in (port for spec in table for port in spec.ports):
        number = _parse(port.setting, env.get(port.setting) or str(port.default))
        if number and number in ports.values():
            other = next(setting for setting, taken in ports.items() if taken == number)
            raise Refused(f"{other} and {port.setting} are both {number}; each process needs a port of its own")
        ports[port.setting] = number or any_free(host, ports.values())
    return ports


def ensure_free(specs: Iterable[ProcessSpec], ports: Mapping[str, int], host: str) -> None:
    """Raise `Refused`, naming every port, process and setting, when a process could not listen where it should."""
    problems = [
        f"port {ports[port.setting]} {problem}, so {spec.name} cannot listen there; "
        f"free it, or choose another with {port.setting}"
        for spec in specs
        for port in spec.ports
        if (problem := _problem(host, ports[port.setting]))
    ]
    if problems:
        raise Refused("\n".join(problems))


def is_taken(host: str, port: int) -> bool:
    """Whether something holds the port, so that no server could listen there."""
    return bool(_problem(host, port))


def _parse(setting: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _HIGHEST):
        raise Refused(f"{setting}={text} must be a port (1 to {_HIGHEST}, or 0 for any free one)")
    return int(text)


def any_free(host: str, taken: Collection[int]) -> int:
    """A port on which nothing listens, and none of those taken; this process's own to choose. Raises `Refused`."""
    mine = _own_block()
    for number in random.sample(mine, len(mine)):  # nosec B311 # nothing to guess here
        if number not in taken and not _problem(host, number):
            return number
    raise Refused(f"no port from {mine.start} to {mine.stop - 1} is free")


def free_in_a_row(host: str, count: int) -> int:
    """The first of so many ports in a row on which nothing listens, all this process's own. Raises `Refused`."""
    mine = _own_block()
    for first in mine[: max(0, len(mine) - count + 1)]:
        if not any(_problem(host, number) for number in range(first, first + count)):
            return first
    raise Refused(f"no {count} ports in a row from {mine.start} to {mine.stop - 1} are free")


@cache
def _own_block() -> range:
    """A block of ports that is this process's, and its children's, for as long as one of them lives.

    Raises `Refused` when all are taken.
    """
    folder = Path(tempfile.gettempdir()) / f"shop-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    starts = _CHOICE[::_BLOCK]
    for start in random.sample(starts, len(starts)):  # nosec B311 # nothing to guess here
        lock = os.open(folder / str(start), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return range(start, start + _BLOCK)
    raise Refused(f"{len(starts)} programs already choose ports on this machine: stop some, or set each port")


def _problem(host: str, port: int) -> str:
    """The reason why the port cannot be listened on; empty when it can."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections that a former process left in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"is refused ({error.strerror})"
    return ""

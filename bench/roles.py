"""Processes beside a benchmark that read commands and answer, a line each, and what such a process reads and writes."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from shop.supervisor.ports import any_free

# Where a server listens whose URL names no port.
_PORTS = {"postgresql": 5432, "amqp": 5672, "amqps": 5671}


class Role:
    """Another process that reads commands and answers, a line each."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process

    def receive(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmark has ended")
        return line.strip()

    def send(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()


@contextmanager
def role(module: str, *arguments: str) -> Iterator[Role]:
    """`python -m MODULE ARGUMENTS…`, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Role(process)
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def serving(
    command: Sequence[str], settings: Mapping[str, str], output: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A server that writes a line to the descriptor SHOP_READY_FD once it serves; killed with the block.

    `settings` are added to the environment, which is without any `SHOP_…` of ours; what the server writes goes to
    `output`, or where ours goes.
    """
    ready, write = os.pipe()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    environment = {**inherited, **settings, "SHOP_READY_FD": str(write)}
    with (output or Path(os.devnull)).open("w") as file:
        written = file if output else None
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=(write,),
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=written,
            text=True,
        )
    os.close(write)
    try:
        if os.read(ready, 1) != b"\n":
            said = output.read_text()[-2_000:] if output else ""
            raise RuntimeError(f"{' '.join(command)[:200]} did not start\n{said}")
        yield process
    finally:
        os.close(ready)
        process.kill()
        process.communicate()


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have used so far, in user and kernel mode, to the nanosecond."""
    # The process's own clock, as clock_getcpuclockid(3) names it: /proc counts in hundredths of a second.
    return time.clock_gettime((~pid << 3) | 2)


_given_out: list[int] = []


def free_port() -> int:
    """A port on which nothing listens now, and that no other process is assigned before it is used."""
    _given_out.append(any_free("127.0.0.1", _given_out))
    return _given_out[-1]


def listens(url: str) -> bool:
    """Whether a server accepts connections at a URL's host and port."""
    address = urlsplit(url)
    try:
        port = address.port or _PORTS.get(address.scheme, 0)
        with socket.create_connection((address.hostname or "", port), timeout=2):
            return True
    except OSError:
        return False


def not_run(what: str, *urls: str) -> None:
    """Print that a part of a benchmark was left out, and at which of these hosts nothing listens."""
    hosts = dict.fromkeys(str(urlsplit(url).hostname) for url in urls if not listens(url))
    print(f"{what}: NOT RUN, nothing listens at {', '.join(hosts)}", flush=True)


async def commands() -> AsyncIterator[list[str]]:
    """The lines on stdin as words, until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().split()


def say(*words: object) -> None:
    """Write one line to stdout."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()

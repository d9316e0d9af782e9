"""Processes beside a benchmark that read commands and answer, a line each, and what such a process reads and writes."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from shop.started_shop import running
from shop.supervisor.ports import any_free

# Where each benchmark writes its figures.
RESULTS = Path(__file__).parent / "results"
# Where a server listens whose URL names no port.
_PORTS = {"postgresql": 5432, "amqp": 5672, "amqps": 5671}
# Seconds for the first line of a process, and for its end.
START_TIMEOUT = 60.0
_END_TIMEOUT = 10.0


class Role:
    """Another process that reads commands and answers, a line each; its first line shows that it has started."""

    def __init__(self, process: subprocess.Popen[str], name: str = "", errors: Path | None = None) -> None:
        """`name` is what it is called when it does not start; `errors` is where it writes them, if not where we do."""
        self.pid = process.pid
        self.process = process
        self._name = name
        self._errors = errors
        self._started = False

    def receive(self) -> str:
        """Its next line. Raises `RuntimeError` when it has ended, or has no first line within a minute."""
        assert self.process.stdout is not None
        with nullcontext() if self._started else _killed_late(self.process):
            line = self.process.stdout.readline()
        if line:
            self._started = True
            return line.strip()
        if self._started:
            raise RuntimeError("a process of the benchmark has ended")
        raise _not_started(self._name, self.process, self._errors)

    def send(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()


@contextmanager
def role(module: str, *arguments: str, errors: Path | None = None, **environment: str) -> Iterator[Role]:
    """`python -m MODULE ARGUMENTS…` with a clean environment and these variables, ended with the block."""

    def start() -> subprocess.Popen[str]:
        with (errors or Path(os.devnull)).open("w") as file:
            return subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=clean_environment(**environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file if errors else None,
                text=True,
            )

    with running(start, end) as process:
        yield Role(process, " ".join([module, *arguments[:1]]), errors)


@asynccontextmanager
async def started_role(module: str, *arguments: str, **environment: str) -> AsyncIterator[tuple[Role, str]]:
    """The same within an event loop, with its first line. Raises `RuntimeError` when there is none."""
    with role(module, *arguments, errors=None, **environment) as started:
        yield started, await asyncio.to_thread(started.receive)


@contextmanager
def serving(
    command: Sequence[str], settings: Mapping[str, str], output: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A server that writes a line to the descriptor SHOP_READY_FD once it serves; killed with the block.

    `settings` are added to a clean environment; what the server writes goes to `output`, or where ours goes. Raises
    `RuntimeError` when the line does not come in a minute.
    """
    ready, write = os.pipe()

    def start() -> subprocess.Popen[str]:
        with (output or Path(os.devnull)).open("w") as file:
            written = file if output else None
            process = subprocess.Popen(
                command,
                env=clean_environment(**settings, SHOP_READY_FD=str(write)),
                pass_fds=(write,),
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=written,
                text=True,
            )
        os.close(write)
        return process

    def killed(process: subprocess.Popen[str]) -> None:
        os.close(ready)
        process.kill()
        process.communicate()

    with running(start, killed) as process:
        with _killed_late(process):
            started = os.read(ready, 1) == b"\n"
        if not started:
            raise _not_started(" ".join(command)[:200], process, output)
        yield process


def clean_environment(**more: str) -> dict[str, str]:
    """Our environment without the user's own `SHOP_…`, and these variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")} | more


@contextmanager
def _killed_late(process: subprocess.Popen[str]) -> Iterator[None]:
    """Kill a process that is still starting after a minute: the reader of its first line then gets end of file."""
    timer = threading.Timer(START_TIMEOUT, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _not_started(name: str, process: subprocess.Popen[str], output: Path | None) -> RuntimeError:
    end(process)
    said = f"\n{output.read_text()[-2_000:]}" if output else ""
    return RuntimeError(f"{name} did not start (exit code {process.returncode}){said}")


def end(process: subprocess.Popen[str]) -> None:
    """Close a process's input, at whose end it closes what it has; terminate it after ten seconds, then kill it.

    One that does not read its input from us is terminated at once.
    """
    steps = [process.terminate, process.kill]
    if process.stdin is None:
        steps.pop(0)()
    for step in steps:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_END_TIMEOUT)
            return
        step()
    process.communicate()


async def say_until_closed(*words: object) -> None:
    """Write one line to stdout, and wait for the end of stdin: then the process that started this one has ended."""
    say(*words)
    async for _ in commands():
        pass


@contextmanager
def own_databases(server: str) -> Iterator[str]:
    """The URL of databases that no other run has, with `{service}` in it; all of them are dropped in the end."""
    prefix = f"bench_{uuid.uuid4().hex[:12]}_"
    try:
        yield f"{server}/{prefix}{{service}}"
    finally:
        # In a thread of its own: where the block is a coroutine's, there is a running loop already.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, _drop(server, prefix)).result()


async def _drop(server: str, prefix: str) -> None:
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        for row in await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix):
            await connection.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')
    finally:
        await connection.close()


def allow_open_files() -> None:
    """Let this process have as many open files as its user may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS says that there is no limit, and takes none above this.
    wanted = 10_240 if most == resource.RLIM_INFINITY and sys.platform == "darwin" else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def cpu_seconds(pid: int) -> float:
    """Seconds that all threads of a process have used so far, in user and kernel mode; on Linux to the nanosecond."""
    if sys.platform != "linux":
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
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

"""Processor time of an order by function (py-spy), and its waits for the disk (strace).

Both stop the processes again and again, so each has a run of its own whose times are not used.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from shop.started_shop import running

_RATE = "50"
_OURS = "our own code"
# Found by the innermost function of a stack that belongs to one of these.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("spans", ("opentelemetry/", "chassis/observability/")),
    ("waiting threads", ("threading.py", "concurrent/futures/", "queue.py", "_queue")),
    ("transactions", ("sqlalchemy/", "aiosqlite/", "asyncpg/", "chassis/database/", "ledger.py", "legacy_soap/tables")),
    ("messages", ("chassis/broker/", "aio_pika/", "aiormq/", "pamqp/")),
    ("SOAP", ("zeep/", "lxml/", "spyne/", "legacy_soap/", "erp_adapter/")),
    ("mail", ("email/", "aiosmtplib/", "aiosmtpd/", "partners/smtp_sink/")),
    (
        "calls",
        (
            *("grpc/", "chassis/grpc/", "google/protobuf/", "httpx/", "httpcore/", "h11/", "aiohttp/", "uvicorn/"),
            *("starlette/", "fastapi/", "pydantic/", "chassis/http/", "urllib/", "http/", "waitress/", "gateway/"),
        ),
    ),
    ("event loop", ("asyncio/", "uvloop/", "selectors.py")),
)


def kind_of(stack: str) -> str:
    """The kind of work that a folded stack (outermost function first) was at."""
    for frame in reversed(stack.split(";")):
        for kind, places in _KINDS:
            if any(place in frame for place in places):
                return kind
    return _OURS


def kinds(folded: str) -> dict[int, Counter[str]]:
    """Samples by process id and kind of work, from py-spy's raw format.

    A line is `process 7:x;outer (a.py:1);inner (b.py:2) 3`.
    """
    found: dict[int, Counter[str]] = defaultdict(Counter)
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        process, _, frames = stack.partition(";")
        # A process that was forked has its parent's entry before its own.
        while frames.startswith("process "):
            process, _, frames = frames.partition(";")
        if process.startswith("process ") and frames:
            found[int(process.split()[1].partition(":")[0])][kind_of(frames)] += int(count)
    return found


@contextmanager
def sampled(supervisor: int, into: dict[int, Counter[str]]) -> Iterator[None]:
    """Sample every process of a shop while the block runs; prints a line when that is not possible here."""
    program = Path(sys.executable).parent / "py-spy"
    with tempfile.TemporaryDirectory(prefix="bench-spy-") as folder:
        output = Path(folder) / "stacks"
        # Only threads that hold the interpreter: one that waits in C looks as if it worked.
        options = [
            "--gil",
            "--subprocesses",
            "--format",
            "raw",
            "--rate",
            _RATE,
            "--duration",
            "unlimited",
            "--output",
            output,
        ]
        if not program.exists():
            sys.stdout.write("kinds of work: NOT SAMPLED, py-spy is not installed\n")
            yield
            return
        command = [program, "record", "--pid", str(supervisor), *options]
        with running(partial(_started, command, Path(folder) / "log"), _ended):
            yield
        if output.exists():
            into.update(kinds(output.read_text()))
        if not into:
            reason = (Path(folder) / "log").read_text()[-300:]
            sys.stdout.write(f"kinds of work: NOT SAMPLED, py-spy may not look into other processes here: {reason}\n")


@contextmanager
def syncs_counted(pids: Mapping[str, int], into: Counter[str]) -> Iterator[None]:
    """Count each process's fsyncs while the block runs; prints a line when that is not possible here."""
    program = shutil.which("strace")
    if program is None:
        sys.stdout.write("fsyncs: NOT COUNTED, strace is not installed\n")
        yield
        return
    with tempfile.TemporaryDirectory(prefix="bench-strace-") as folder:
        output = Path(folder) / "calls"
        processes = [part for pid in pids.values() for part in ("-p", str(pid))]
        command = [program, "-f", "-q", "-e", "trace=fsync,fdatasync", "-o", output, *processes]
        with running(partial(_started, command, Path(folder) / "log"), _ended):
            yield
            owner = {thread.name: name for name, pid in pids.items() for thread in Path(f"/proc/{pid}/task").iterdir()}
        lines = output.read_text().splitlines() if output.exists() else []
        into.update(owner.get(line.split()[0], "a thread that ended") for line in lines if _begins(line))
        if not into:
            sys.stdout.write(f"fsyncs: NOT COUNTED: {(Path(folder) / 'log').read_text()[-300:]}\n")


def _begins(line: str) -> bool:
    """Whether a line of strace's is a call's beginning: one that is interrupted has a second line, `resumed`."""
    return "sync(" in line and "resumed" not in line


def _started(command: Sequence[object], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT)


def _ended(process: subprocess.Popen[bytes]) -> None:
    """End it as Ctrl-C does: both programs write what they have and let go."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The warm interpreter: `python -m tests.forking.server CONNECTION LISTENER` forks a process for each request.

It has one thread and no event loop, and opens nothing but those connections: what it forks must be a clean copy.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal, NoReturn

from tests.forking import PROGRAMS
from tests.forking.request import Request, receive, start_alike

# What programs that tests start import besides the processes of the shop.
_MORE = (
    "bench.compare.cli",
    "legacy_soap.bootstrap",
    "tests.contract.databases",
    "tests.contract.events",
    "tests.contract.orders",
)


def warm_up() -> None:
    """Import what the programs share, and keep it out of garbage collections, which would copy its pages."""
    from shop.cli import COMMANDS
    from shop.process_table import TABLE
    from shop.supervisor.preload import preload

    before = os.environ.copy()
    preload(TABLE)
    commands = (place.partition(":")[0] for panel in COMMANDS.values() for place in panel.values())
    for module in (*commands, *_MORE):
        with suppress(ModuleNotFoundError):  # a package that is not installed here
            import_module(module)
    os.environ.clear()
    os.environ.update(before)
    if threading.active_count() != 1 or len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - names are enough
        raise RuntimeError("a module starts a thread when it is imported: what is forked would not be a clean copy")
    gc.collect()
    gc.freeze()


class Server:
    """Forks for each request: of the worker, whose child the process becomes, and of shells' commands."""

    def __init__(self, worker: socket.socket, listener: socket.socket) -> None:
        self._worker = worker
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(worker, selectors.EVENT_READ, self._for_the_worker)
        self._selector.register(listener, selectors.EVENT_READ, self._for_a_command)

    def serve(self) -> Request | None:
        """Returns in each process that was forked, or None here when the worker has ended."""
        while True:
            for key, _ in self._selector.select():
                if (request := key.data()) is not None:
                    return request if isinstance(request, Request) else None

    def _for_the_worker(self) -> Request | Literal["the end"] | None:
        if (wanted := receive(self._worker)) is None:
            return "the end"
        request, descriptors = wanted
        readable, writable = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid:
                os.write(writable, str(pid).encode())
                os._exit(0)
            for descriptor in (readable, writable):
                os.close(descriptor)
            return self._become(request, descriptors)
        for descriptor in (writable, *descriptors):
            os.close(descriptor)
        # With its end the process that stays is adopted by the one that sent the request.
        os.waitpid(between, 0)
        self._worker.send(os.read(readable, 20))
        os.close(readable)
        return None

    def _for_a_command(self) -> Request | None:
        command, _ = self._listener.accept()
        wanted = receive(command)
        if wanted is None:
            command.close()
            return None
        request, descriptors = wanted
        if request.program in PROGRAMS and start_alike(request.env, os.environ):
            pid = os.fork()
            if pid == 0:
                command.close()
                return self._become(request, descriptors)
            ended = os.pidfd_open(pid)
            end = partial(self._end_of_command, command, pid, ended)
            self._selector.register(ended, selectors.EVENT_READ, end)
            # A command that is killed closes its connection.
            self._selector.register(
                command, selectors.EVENT_READ, partial(self._end_of_command, command, pid, ended, kill=True)
            )
            command.send(str(pid).encode())
        else:
            command.close()
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _end_of_command(self, command: socket.socket, pid: int, ended: int, *, kill: bool = False) -> None:
        if command.fileno() < 0:
            return  # both at once
        if kill:
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(ended)
        self._selector.unregister(command)
        os.close(ended)
        with suppress(OSError):  # it was killed
            command.send(str(status).encode())
        command.close()

    def _become(self, request: Request, descriptors: list[int]) -> Request:
        """In the new process: leave what is the server's, and take over."""
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.detach()
        self._selector.close()
        _take_over(request, descriptors)
        return request


def _take_over(request: Request, descriptors: list[int]) -> None:
    """Become the process that was asked for: its descriptors, session, environment and streams."""
    if request.new_session:
        os.setsid()
    elif request.group >= 0:
        os.setpgid(0, request.group)
    # First out of the way of all targets, then each to its own.
    above = max([*request.targets, *descriptors]) + 1
    moved = [_duplicate(descriptor, above) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, target in zip(moved, request.targets, strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request.env)
    for number in request.ignored:
        signal.signal(number, signal.SIG_IGN)
    unbuffered = bool(request.env.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = _stream(number, getattr(sys, name), unbuffered=unbuffered)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [request.program, *request.arguments]


def _duplicate(descriptor: int, above: int) -> int:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, above)


def _stream(number: int, like: io.TextIOWrapper, *, unbuffered: bool) -> io.TextIOWrapper:
    """A standard stream as the interpreter makes it at its start."""
    mode, buffering = ("rb", -1) if number == 0 else ("wb", 0 if unbuffered else -1)
    return io.TextIOWrapper(
        open(number, mode, buffering, closefd=False),
        encoding=like.encoding,
        errors=like.errors,
        newline="\n",
        line_buffering=not unbuffered and (number == 2 or os.isatty(number)),
        write_through=unbuffered,
    )


def main() -> None:
    """Serve until the connection ends; in a forked process, run the program and end as the interpreter does."""
    worker, listener = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    # A Ctrl-C in the terminal is the test run's, which ends this with its own end.
    try:
        warm_up()
        request = Server(worker, listener).serve()
    except KeyboardInterrupt:
        return
    if request is not None:
        sys.path[0] = str(Path.cwd())
        _end(_run(request.program))


def _run(program: str) -> int:
    """Run the program; its exit status as the interpreter finds it, which for a Ctrl-C is minus the signal."""
    try:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException as error:  # noqa: BLE001 - whatever a program lets through, the interpreter prints
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _end(status: int) -> NoReturn:
    """End as the interpreter does, but for taking apart all modules: that would copy every page that is shared."""
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads, as `multiprocessing` does in its forks
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 120  # what the interpreter makes of output that it could not write
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status & 0xFF)


if __name__ == "__main__":
    main()

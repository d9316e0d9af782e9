"""`subprocess.Popen` that forks our programs from a warm server, one of this worker's own."""

from __future__ import annotations

import atexit
import ctypes
import inspect
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.forking import PROGRAMS
from tests.forking.request import Request, start_alike

ROOT = Path(__file__).parents[2]
_Executing = subprocess.Popen
_SIGNATURE = [*inspect.signature(_Executing._execute_child).parameters][1:]  # type: ignore[attr-defined]
# What Popen leaves as it is unless a caller says otherwise; with anything else the program is executed.
_PLAIN = {
    "preexec_fn": None,
    "close_fds": True,
    "shell": False,
    "gid": None,
    "gids": None,
    "uid": None,
    "umask": -1,
    "executable": None,
}
_SUBREAPER = 36  # Linux's PR_SET_CHILD_SUBREAPER


class Server:
    """The warm interpreter, started when it is first needed; it ends when this process does."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._folder = ""
        self._prctl = ctypes.CDLL(None, use_errno=True).prctl

    def fork(self, request: Request, descriptors: list[int]) -> int:
        """Start a process, and return its pid. It is a child of this one.

        The server forks twice, and its child ends at once: what is left is adopted by the nearest process above that
        says so, which is this one for as long as the request takes.
        """
        with self._turn:
            connection = self._connected()
            self._set_subreaper(on=True)
            try:
                request.send(connection, descriptors)
                answer = connection.recv(20)
            finally:
                self._set_subreaper(on=False)
        if not answer:
            raise OSError("the server that forks tests' processes has ended")
        return int(answer)

    def environment(self) -> Mapping[str, str]:
        """What the server was started with, or would be now."""
        return self._environment if self._connection else os.environ

    def start(self) -> None:
        """Have it import what it needs now, beside this process, so that no test waits for it later."""
        with self._turn:
            self._connected()

    def place(self) -> str:
        """The socket at which it takes requests of shells (`tests.forking.command`)."""
        self.start()
        return f"{self._folder}/socket"

    def _set_subreaper(self, *, on: bool) -> None:
        if self._prctl(_SUBREAPER, int(on), 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")

    def _connected(self) -> socket.socket:
        if self._connection is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                ours.setsockopt(socket.SOL_SOCKET, option, 1 << 18)
            self._environment = {
                name: value for name, value in os.environ.items() if not name.startswith(("SHOP_", "PYTEST_"))
            }
            self._folder = tempfile.mkdtemp(prefix="forking-")
            with theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(f"{self._folder}/socket")
                listener.listen(64)
                numbers = [theirs.fileno(), listener.fileno()]
                command = [sys.executable, "-m", "tests.forking.server", *map(str, numbers)]
                self._process = _Executing(command, cwd=ROOT, env=self._environment, pass_fds=numbers)
            self._connection = ours
            atexit.register(self.close)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


SERVER = Server()
_fresh = False


class Popen(_Executing):  # type: ignore[type-arg]
    """As the original, which it is for every other command."""

    def _execute_child(self, *given: Any) -> None:
        call = dict(zip(_SIGNATURE, given, strict=True))
        if call["env"] is None:
            call["env"] = os.environ
        if _fresh or not _can_be_forked(call):
            super()._execute_child(*call.values())  # type: ignore[misc]
            return
        streams = {0: call["p2cread"], 1: call["c2pwrite"], 2: call["errwrite"]}
        places = {target: target if number == -1 else number for target, number in streams.items()}
        places |= {int(number): int(number) for number in call["pass_fds"]}
        _, _, program, *arguments = map(os.fspath, call["args"])
        request = Request(
            program,
            arguments,
            _decoded(call["env"]),
            list(places),
            new_session=bool(call["start_new_session"]),
            group=call["process_group"],
        )
        self.pid = SERVER.fork(request, list(places.values()))
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(call[each] for each in pipes))  # type: ignore[attr-defined]


def _can_be_forked(call: Mapping[str, Any]) -> bool:
    args = call["args"]
    if isinstance(args, str | bytes | os.PathLike) or any(call[name] != plain for name, plain in _PLAIN.items()):
        return False
    if len(args) < 3 or args[0] != sys.executable or args[1] != "-m" or args[2] not in PROGRAMS:
        return False
    alike = start_alike(_decoded(call["env"]), SERVER.environment())
    return alike and Path(call["cwd"] or "").resolve() == ROOT


def _decoded(env: Mapping[Any, Any]) -> dict[str, str]:
    return {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}


def install() -> None:
    """Have all of this process's commands started in this way, where the system can (Linux).

    From now on they get `os.environ`, and the environment of the C library stays as it is: pytest changes it for each
    test, and a thread of gRPC's that reads it meanwhile would end the process.
    """
    if sys.platform == "linux" and os.environ.get("TEST_START_METHOD") != "spawn":
        subprocess.Popen = Popen  # type: ignore[misc]
        os.putenv = os.unsetenv = _nowhere_else


def _nowhere_else(*_: object) -> None:
    """What `os.environ` does beside what it does to itself."""


def start_early() -> None:
    """Start the server before the first test that needs it, where programs are forked."""
    if subprocess.Popen is Popen:
        SERVER.start()


def shell_python() -> str:
    """What a shell starts our programs with: `{shell_python()} -m PROGRAM …`."""
    if subprocess.Popen is not Popen or _fresh:
        return f'"{sys.executable}"'
    return f'"{sys.executable}" -I -S "{ROOT}/tests/forking/command.py" "{SERVER.place()}"'


@contextmanager
def fresh_interpreters() -> Iterator[None]:
    """Meanwhile every program is executed in an interpreter of its own."""
    global _fresh  # noqa: PLW0603 - one for the process, as Popen is
    before, _fresh = _fresh, True
    try:
        yield
    finally:
        _fresh = before

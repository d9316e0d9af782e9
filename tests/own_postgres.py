"""A PostgreSQL of a test's own, which it may stop, kill and fill as it likes."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg

from tests.not_run import not_run
from tests.shop import free_ports
from tests.waiting import eventually

_PLACES = "/usr/lib/postgresql/*/bin/initdb"


class OwnPostgres:
    """One cluster on a port of its own."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self._programs = programs
        self._folder = folder
        self._server: subprocess.Popen[bytes] | None = None
        self.port = port
        self.url = f"postgresql://postgres@127.0.0.1:{port}"

    def start(self, **settings: str) -> None:
        """Begin to start the server; `settings` are its own."""
        given = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            **settings,
        }
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        self._server = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_as_postgres(),
        )

    async def started(self) -> None:
        """Wait until the server takes connections."""

        async def answers() -> bool:
            with suppress(OSError, asyncpg.PostgresError):
                connection = await asyncpg.connect(f"{self.url}/postgres")
                await connection.close()
                return True
            return False

        await eventually(answers, within=30)

    def tell(self, signum: signal.Signals) -> None:
        """SIGTERM: end when all clients have gone; SIGINT: end now; SIGQUIT: at once, and recover at the next start."""
        if self._server is not None:
            self._server.send_signal(signum)

    def stop(self, signum: signal.Signals = signal.SIGINT) -> None:
        """End the server, and wait for that."""
        self.tell(signum)
        if self._server is not None:
            self._server.wait(30)

    def make_standby(self) -> None:
        """From its next start on the server only follows another one, which there is not."""
        signal_file = self._folder / "standby.signal"
        signal_file.touch()
        shutil.chown(signal_file, self._folder.owner(), self._folder.group())


@contextmanager
def own_postgres_cluster() -> Iterator[OwnPostgres]:
    """A cluster that is not started yet, and nothing of which stays. The test is not run where there is none."""
    found = sorted(Path("/").glob(_PLACES.lstrip("/")))
    initdb = found[-1] if found else Path(shutil.which("initdb") or "")
    if not initdb.is_file():
        not_run("postgres", "needs PostgreSQL's own programs (initdb, postgres)")
    with _folder() as folder:
        subprocess.run(["cp", "-R", _new_cluster(initdb), folder / "cluster"], check=True, **_as_postgres())
        cluster = OwnPostgres(initdb.parent, folder / "cluster", free_ports(1)[0])
        try:
            yield cluster
        finally:
            cluster.stop(signal.SIGQUIT)


@cache
def _new_cluster(initdb: Path) -> Path:
    """A cluster that was never started, of which each test has a copy: to make one takes a second and more."""
    kept = ExitStack()
    atexit.register(kept.close)
    made = kept.enter_context(_folder()) / "new"
    command: list[str | Path] = [initdb, "-D", made, "-U", "postgres", "-A", "trust", "-N"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **_as_postgres())
    return made


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that the server's user owns."""
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        yield Path(folder)


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": "postgres", "cwd": "/"} if os.getuid() == 0 else {}
